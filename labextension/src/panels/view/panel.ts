/** A view of a cluster as a panel of the main area. Its drawing is `views/`; hidden, it costs nothing. */
import type { ClusterDirectory } from '../../clusters';
import { createView } from '../../views';
import type { View, ViewKind } from '../../views';
import type { Translate } from '../../views/text';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import { nunaIcon } from '../../icons';

export class ViewPanel extends Widget {
  constructor(
    directory: ClusterDirectory,
    readonly cluster: string,
    readonly kind: ViewKind,
    title: string,
    translate: Translate
  ) {
    super();
    this.id = ViewPanel.idOf(cluster, kind);
    this.addClass('nuna-ViewPanel');
    this.title.label = title;
    this.title.caption = `${title} – ${cluster}`;
    this.title.icon = nunaIcon;
    this.title.closable = true;
    this._view = createView(kind, { connection: directory.connection(cluster), translate });
    this._view.setVisible(false);
    this.node.append(this._view.node);
  }

  static idOf(cluster: string, kind: ViewKind): string {
    return `nuna-${kind}-${cluster}`;
  }

  themeChanged(): void {
    this._view.themeChanged();
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._view.dispose();
      super.dispose();
    }
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._view.setVisible(true);
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._view.setVisible(this.isVisible);
  }

  protected onBeforeHide(message: Message): void {
    this._view.setVisible(false);
    super.onBeforeHide(message);
  }

  protected onBeforeDetach(message: Message): void {
    this._view.setVisible(false);
    super.onBeforeDetach(message);
  }

  private _view: View;
}
