/** The status bar's word on when this server's job ends, and the warnings before it. */
import { Notification } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import { clock } from '../../views/format';
import type { Translate } from '../../views/text';
import { setText } from '../../views/view';
import { SOON, dueWarning, timeLeft } from '../../views/walltime';

const REFRESH = 1000;

export class WalltimeItem extends Widget {
  /** `end` in milliseconds since 1970. */
  constructor(
    private _end: number,
    private _translate: Translate
  ) {
    super();
    this.addClass('nuna-WalltimeItem');
    this.node.title = _translate('The batch system ends this server at %1', clock(_end, 1000));
    this._timer = setInterval(() => this._refresh(), REFRESH);
    this._refresh();
  }

  dispose(): void {
    if (!this.isDisposed) {
      clearInterval(this._timer);
      super.dispose();
    }
  }

  private _refresh(): void {
    const left = this._end - Date.now();
    setText(this.node, left > 0 ? this._translate('Ends in %1', timeLeft(left)) : this._translate('Walltime is over'));
    this.toggleClass('nuna-mod-soon', left < SOON);
    const warning = dueWarning(left, this._given);
    if (warning !== null) {
      this._given = warning;
      const text = 'This server ends in %1, at %2. Save your work: what is not saved then is lost.';
      Notification.warning(this._translate(text, timeLeft(left), clock(this._end, 1000)), { autoClose: false });
    }
  }

  private _given = 0;
  private _timer: ReturnType<typeof setInterval>;
}
