/**
 * What every view shares: a node, the topics it needs, and a drawing loop that runs only while the view
 * can be seen and something has changed. Shells (`panels/`, `page.ts`) put the node somewhere.
 */
import type { ClusterConnection } from '../connection';
import type { ClusterModel } from '../model';
import type { Topic } from '../protocol';
import { plain } from './text';
import type { Translate } from './text';

export type ViewKind = 'taskstream' | 'progress' | 'workers' | 'memory';

export interface IViewOptions {
  connection: ClusterConnection;
  translate?: Translate;
}

export abstract class View {
  constructor(options: IViewOptions, kind: ViewKind, topics: readonly Topic[]) {
    this.connection = options.connection;
    this.model = options.connection.model;
    this.translate = options.translate ?? plain;
    this._topics = topics;
    this.node = element('div', `nuna-view nuna-${kind}`);
    this.body = element('div', 'nuna-body');
    this._notice = element('div', 'nuna-notice');
    this._notice.setAttribute('role', 'status');
    this._notice.hidden = true;
    this.node.append(this._notice, this.body);
    this._undo.push(this.model.changed.connect(() => this.schedule()));
    this._resizes = new ResizeObserver(() => {
      this.resized();
      this.schedule();
    });
    this._resizes.observe(this.body);
    // Covers what a shell does not tell: scrolled away, another tab of a page, a collapsed frame.
    this._sight = new IntersectionObserver(entries => {
      this._inSight = entries[entries.length - 1].isIntersecting;
      this._reconsider();
    });
    this._sight.observe(this.node);
    const page = () => this._reconsider();
    document.addEventListener('visibilitychange', page);
    this._undo.push(() => document.removeEventListener('visibilitychange', page));
  }

  readonly node: HTMLElement;
  readonly model: ClusterModel;
  protected readonly connection: ClusterConnection;
  protected readonly translate: Translate;
  protected readonly body: HTMLElement;

  /** A shell's word that the view is hidden; without one it counts as shown. */
  setVisible(visible: boolean): void {
    this._shown = visible;
    this._reconsider();
  }

  get isVisible(): boolean {
    return this._release !== null;
  }

  /** Colours changed: everything is drawn again. */
  themeChanged(): void {
    this.resized();
    this.schedule();
  }

  dispose(): void {
    this._shown = false;
    this._reconsider();
    cancelAnimationFrame(this._request);
    clearTimeout(this._pulseTimer);
    this._resizes.disconnect();
    this._sight.disconnect();
    this._undo.forEach(undo => undo());
    this.node.remove();
  }

  /** Draws again when `node` gets another size, as a canvas's frame does when a legend grows. */
  protected watch(node: HTMLElement): void {
    this._resizes.observe(node);
  }

  /** Draws what changed; `now` is the frame's time. */
  protected abstract draw(now: number): void;

  /** The size or the theme changed: forget what was drawn. */
  protected resized(): void {
    /* Views made of elements have nothing to forget. */
  }

  /** Milliseconds until the next frame is worth drawing though nothing arrives; infinite for most. */
  protected get pulse(): number {
    return Infinity;
  }

  protected schedule(): void {
    if (this._release && this._request === 0) {
      this._request = requestAnimationFrame(now => {
        this._request = 0;
        if (!this._release) {
          return;
        }
        this._showNotice();
        this.draw(now);
        clearTimeout(this._pulseTimer);
        if (Number.isFinite(this.pulse)) {
          this._pulseTimer = setTimeout(() => this.schedule(), this.pulse);
        }
      });
    }
  }

  private _reconsider(): void {
    const visible = this._shown && this._inSight && !document.hidden;
    if (visible && !this._release) {
      this._release = this.connection.retain(this._topics);
      this.schedule();
    } else if (!visible && this._release) {
      this._release();
      this._release = null;
      clearTimeout(this._pulseTimer);
    }
  }

  private _showNotice(): void {
    const { connection, problem } = this.model;
    const text =
      connection === 'lost'
        ? this.translate('No connection to the cluster: %1. Trying again…', problem)
        : connection === 'connecting' && this.model.generation === 0
          ? this.translate('Connecting…')
          : '';
    if (this._notice.textContent !== text) {
      this._notice.textContent = text;
      this._notice.hidden = text === '';
    }
    this.node.classList.toggle('nuna-stale', connection === 'lost');
  }

  private _topics: readonly Topic[];
  private _notice: HTMLElement;
  private _resizes: ResizeObserver;
  private _sight: IntersectionObserver;
  private _shown = true;
  private _inSight = false;
  private _release: (() => void) | null = null;
  private _request = 0;
  private _pulseTimer: ReturnType<typeof setTimeout> | undefined;
  private _undo: (() => void)[] = [];
}

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  text = ''
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  node.className = className;
  if (text) {
    node.textContent = text;
  }
  return node;
}

/** Sets text only when it differs, so that a screen reader and the layout are left alone. */
export function setText(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

export function reducedMotion(): boolean {
  return window.matchMedia('(prefers-reduced-motion: reduce)').matches;
}
