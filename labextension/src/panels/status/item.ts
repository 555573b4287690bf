/** The status bar's word on the cluster of the notebook in front: tasks per second and memory. */
import type { ClusterDirectory } from '../../clusters';
import { bytes, rate } from '../../views/format';
import type { Translate } from '../../views/text';
import { element, setText } from '../../views/view';
import { Widget } from '@lumino/widgets';

const REFRESH = 1000;

export class StatusItem extends Widget {
  constructor(
    private _directory: ClusterDirectory,
    private _translate: Translate,
    open: () => void
  ) {
    super();
    this.addClass('nuna-StatusItem');
    this._button.type = 'button';
    this._button.title = _translate('Show the Nuna clusters');
    this._button.addEventListener('click', open);
    this.node.append(this._button);
    this._undo = _directory.changed.connect(() => this._follow());
    this._timer = setInterval(() => this._refresh(), REFRESH);
    this._onVisibility = () => this._follow();
    document.addEventListener('visibilitychange', this._onVisibility);
    this._follow();
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._undo();
      clearInterval(this._timer);
      document.removeEventListener('visibilitychange', this._onVisibility);
      this._release?.();
      super.dispose();
    }
  }

  private _follow(): void {
    const name = document.hidden ? '' : (this._directory.current?.name ?? '');
    if (name !== this._name) {
      this._release?.();
      this._name = name;
      this._release = name ? this._directory.connection(name).retain(['totals']) : null;
    }
    this._refresh();
  }

  private _refresh(): void {
    const model = this._name ? this._directory.connection(this._name).model : undefined;
    const latest = model?.latest;
    this._button.hidden = !latest;
    if (model && latest) {
      const memory = `${bytes(Math.max(latest.rss, latest.managed))} / ${bytes(latest.limit)}`;
      setText(this._button, this._translate('%1: %2 · %3', this._name, rate(model.tasksPerSecond), memory));
    }
  }

  private _button = element('button');
  private _name = '';
  private _release: (() => void) | null = null;
  private _undo: () => void;
  private _timer: ReturnType<typeof setInterval>;
  private _onVisibility: () => void;
}
