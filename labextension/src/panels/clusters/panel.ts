/** The side panel: the clusters of this user, the notebook's own marked, and what can be opened of each. */
import type { IClusterInfo } from '../../api';
import type { ClusterDirectory } from '../../clusters';
import { VIEW_KINDS, VIEW_TITLES } from '../../views';
import type { ViewKind } from '../../views';
import { bytes, count, duration, rate } from '../../views/format';
import type { Translate } from '../../views/text';
import { element, setText } from '../../views/view';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import { nunaIcon } from '../../icons';

interface ICard {
  node: HTMLElement;
  name: HTMLAnchorElement;
  badge: HTMLElement;
  numbers: HTMLElement;
  release: () => void;
}

const REFRESH = 1000;

export class ClustersPanel extends Widget {
  constructor(
    private _directory: ClusterDirectory,
    private _translate: Translate,
    private _actions: { open(cluster: string, kind: ViewKind): void; layout(cluster: string): void }
  ) {
    super();
    const t = _translate;
    this.id = 'nuna-clusters';
    this.addClass('nuna-ClustersPanel');
    this.title.icon = nunaIcon;
    this.title.caption = t('Nuna clusters');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', t('Nuna clusters'));
    const head = element('header', 'nuna-panel-head', t('Nuna clusters'));
    this._problem.setAttribute('role', 'status');
    this._empty.append(
      element('p', '', t('No cluster is running. Start one from a Rust notebook:')),
      element('pre', '', 'let cluster = Cluster::local().start()?;'),
      element('p', '', t('It appears here within two seconds, wherever it was started.'))
    );
    this.node.append(head, this._problem, this._list, this._empty);
    this._undo = _directory.changed.connect(() => this._render());
  }

  dispose(): void {
    if (!this.isDisposed) {
      this._undo();
      this._hold(false);
      super.dispose();
    }
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._hold(true);
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._hold(this.isVisible);
  }

  protected onBeforeHide(message: Message): void {
    this._hold(false);
    super.onBeforeHide(message);
  }

  /** Numbers are asked for only while the panel can be seen. */
  private _hold(visible: boolean): void {
    clearInterval(this._timer);
    this._visible = visible;
    if (visible) {
      this._render();
      this._timer = setInterval(() => this._refresh(), REFRESH);
    } else {
      for (const card of this._cards.values()) {
        card.release();
        card.node.remove();
      }
      this._cards.clear();
    }
  }

  private _render(): void {
    if (!this._visible) {
      return;
    }
    const { clusters, problem } = this._directory;
    setText(this._problem, problem ? this._translate('Cannot list clusters: %1', problem) : '');
    this._empty.hidden = clusters.length > 0 || problem !== '';
    // The notebook's own first, then the newest.
    const ordered = [...clusters]
      .reverse()
      .sort((a, b) => Number(this._directory.isOwn(b)) - Number(this._directory.isOwn(a)));
    const names = new Set(ordered.map(cluster => cluster.name));
    for (const [name, card] of this._cards) {
      if (!names.has(name)) {
        card.release();
        card.node.remove();
        this._cards.delete(name);
      }
    }
    ordered.forEach((cluster, index) => {
      const card = this._card(cluster);
      if (this._list.children[index] !== card.node) {
        this._list.insertBefore(card.node, this._list.children[index] ?? null);
      }
      const own = this._directory.isOwn(cluster);
      card.node.classList.toggle('nuna-own', own);
      if (card.name.getAttribute('href') !== cluster.url) {
        card.name.setAttribute('href', cluster.url);
      }
      setText(card.badge, own ? this._translate('this notebook') : '');
    });
    this._refresh();
  }

  private _refresh(): void {
    for (const [name, card] of this._cards) {
      const model = this._directory.connection(name).model;
      const latest = model.latest;
      const t = this._translate;
      if (model.connection === 'lost') {
        setText(card.numbers, t('No connection: %1', model.problem));
      } else if (latest) {
        const here = model.workersHere;
        const threads = here.reduce((sum, worker) => sum + worker.threads, 0);
        const lines = [
          `${t(here.length === 1 ? '%1 worker' : '%1 workers', count(here.length))} · ${t('%1 threads', count(threads))}`,
          t('%1 tasks · %2', count(latest.tasks), rate(model.tasksPerSecond)),
          t('%1 of %2', bytes(Math.max(latest.rss, latest.managed)), bytes(latest.limit)),
          t('up %1', duration(model.now))
        ];
        setText(card.numbers, lines.join('\n'));
      } else {
        setText(card.numbers, t('Connecting…'));
      }
    }
  }

  private _card(cluster: IClusterInfo): ICard {
    let card = this._cards.get(cluster.name);
    if (card) {
      return card;
    }
    const t = this._translate;
    const node = element('section', 'nuna-card');
    node.setAttribute('aria-label', cluster.name);
    const head = element('div', 'nuna-card-head');
    const badge = element('span', 'nuna-badge');
    const name = element('a', 'nuna-card-name', cluster.name);
    name.target = '_blank';
    name.rel = 'noopener noreferrer';
    name.title = t('Open the whole dashboard in a tab of its own');
    head.append(name, badge);
    const numbers = element('div', 'nuna-card-numbers');
    const buttons = element('div', 'nuna-card-buttons');
    const add = (label: string, title: string, action: () => void, className = 'nuna-tool') => {
      const button = element('button', className, label);
      button.type = 'button';
      button.title = title;
      button.addEventListener('click', action);
      buttons.append(button);
    };
    for (const kind of VIEW_KINDS) {
      const title = t(VIEW_TITLES[kind]);
      add(title, t('Open %1 of %2', title, cluster.name), () => this._actions.open(cluster.name, kind));
    }
    const layoutTitle = t('Open all views beside the notebook');
    add(t('Open all'), layoutTitle, () => this._actions.layout(cluster.name), 'nuna-tool nuna-primary');
    node.append(head, numbers, buttons);
    const release = this._directory.connection(cluster.name).retain(['totals']);
    card = { node, name, badge, numbers, release };
    this._cards.set(cluster.name, card);
    return card;
  }

  private _problem = element('p', 'nuna-panel-problem');
  private _list = element('div', 'nuna-cards');
  private _empty = element('div', 'nuna-panel-empty');
  private _cards = new Map<string, ICard>();
  private _undo: () => void;
  private _timer: ReturnType<typeof setInterval> | undefined;
  private _visible = false;
}
