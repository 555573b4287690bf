/**
 * The task stream: one row per thread, one rectangle per task, moving with the present. What is drawn stays:
 * following the present shifts the picture by whole pixels and adds only what is new.
 */
import { SpanKind, spanKindNames } from '../../model';
import type { IWorker } from '../../model';
import { readTheme, stageColour } from '../colour';
import type { ITheme } from '../colour';
import { clock, count, duration, timeStep } from '../format';
import { View, element, reducedMotion, setText } from '../view';
import type { IViewOptions } from '../view';
import { LaneLayout, TimeWindow, spanBox } from './layout';

const AXIS_HEIGHT = 20;
const LABEL_WIDTH = 86;
const FIRST_WINDOW = 30_000;
const ZOOM_STEP = 1.25;
const TABLE_ROWS_MAX = 100;
const HOVER_DELAY = 120;
const LEGEND_MAX = 8;
/** Narrower boxes would lose too much of their width to a seam. */
const SEAM_FROM = 6;

export class TaskStreamView extends View {
  constructor(options: IViewOptions) {
    super(options, 'taskstream', ['tasks']);
    const t = this.translate;
    this._canvas.tabIndex = 0;
    this._canvas.setAttribute('role', 'img');
    this._canvas.setAttribute(
      'aria-label',
      t('Task stream: one row per thread, one rectangle per task. Arrow keys move, plus and minus zoom, space pauses.')
    );
    this._live = this._button(t('Live'), t('Follow the present (Home)'), () => this._follow());
    this._pause = this._button(t('Pause'), t('Hold the picture (Space)'), () => this._hold());
    this._button('−', t('Show more time'), () => this._zoom(ZOOM_STEP * ZOOM_STEP, this._window.width));
    this._button('+', t('Show less time'), () => this._zoom(1 / ZOOM_STEP / ZOOM_STEP, this._window.width));
    this._tableButton = this._button(t('Table'), t('Show the latest tasks as a table'), () => this._toggleTable());
    this._tableButton.setAttribute('aria-pressed', 'false');
    this._tools.append(this._legend);
    this._frame.append(this._canvas, this._plot, this._tooltip);
    this._tooltip.hidden = true;
    this._table.hidden = true;
    this.body.append(this._tools, this._frame, this._table);
    this.watch(this._frame);
    this._listen();
    this._showMode();
  }

  protected resized(): void {
    this._fresh = false;
  }

  protected get pulse(): number {
    if (!this._following || this.model.connection !== 'live') {
      return Infinity;
    }
    // A frame for every pixel that time moves by, but no more than people see.
    const pixel = this._window.msPerPixel / this._ratio;
    return Math.max(reducedMotion() ? 1000 : 33, Math.min(1000, pixel));
  }

  protected draw(): void {
    if (!this._table.hidden) {
      this._drawTable();
      return;
    }
    const width = this._frame.clientWidth;
    const height = this._frame.clientHeight;
    const plotWidth = width - LABEL_WIDTH;
    const plotHeight = height - AXIS_HEIGHT;
    if (plotWidth < 20 || plotHeight < 10) {
      return;
    }
    const ratio = window.devicePixelRatio || 1;
    if (!this._fresh || ratio !== this._ratio) {
      this._ratio = ratio;
      this._theme = readTheme(this.node);
      size(this._canvas, width, height, ratio);
      size(this._plot, plotWidth, plotHeight, ratio);
      this._plot.style.left = `${LABEL_WIDTH}px`;
      const shownMs = this._window.width > 0 ? this._window.width * this._window.msPerPixel : FIRST_WINDOW;
      const right = this._window.right;
      this._window.width = this._plot.width;
      this._window.msPerPixel = shownMs / this._plot.width;
      if (!this._following) {
        this._window.follow(right);
      }
    }
    const stale =
      !this._fresh || this._generation !== this.model.generation || this._layoutVersion !== this.model.layoutVersion;
    const shift = this._following ? this._window.follow(this.model.present()) : 0;
    if (stale || Math.abs(shift) >= this._window.width) {
      this._drawAll();
    } else {
      if (shift !== 0) {
        this._shift(shift);
      }
      this._drawSpans(Math.max(this._drawn, this.model.spans.first));
    }
    this._drawn = this.model.spans.total;
    this._drawFrame(width, height);
    this._drawLegend();
  }

  private _drawAll(): void {
    const context = this._plot.getContext('2d')!;
    this._workers = shownWorkers([...this.model.workers.values()]);
    this._layout = new LaneLayout(this._workers, this._plot.height);
    context.clearRect(0, 0, this._plot.width, this._plot.height);
    this._generation = this.model.generation;
    this._layoutVersion = this.model.layoutVersion;
    this._fresh = true;
    this._drawSpans(this.model.spans.first);
  }

  private _shift(pixels: number): void {
    const context = this._plot.getContext('2d')!;
    context.globalCompositeOperation = 'copy';
    context.drawImage(this._plot, -pixels, 0);
    context.globalCompositeOperation = 'source-over';
  }

  private _drawSpans(from: number): void {
    const { spans, stages } = this.model;
    const context = this._plot.getContext('2d')!;
    let stage = -1;
    let kind = -1;
    for (let i = from; i < spans.total; i++) {
      const slot = spans.slot(i);
      const box = spanBox(this._window, spans.start[slot], spans.duration[slot]);
      const row = box && this._layout.row(spans.lane[slot]);
      if (!box || !row) {
        continue;
      }
      if (spans.stage[slot] !== stage || spans.kind[slot] !== kind) {
        stage = spans.stage[slot];
        kind = spans.kind[slot];
        context.fillStyle = this._colour(stages.get(stage)?.name ?? '', kind);
      }
      const whole = kind === SpanKind.compute || kind === SpanKind.failed;
      if (whole || row.height < 4) {
        context.fillRect(box.x, row.top, box.width, row.height);
      } else {
        // Transfers and spills often run beside a task of the same thread: half a row leaves both visible.
        context.fillRect(box.x, row.top + row.height / 2, box.width, row.height / 2);
      }
      // A seam where there is room for one, so that equal neighbours stay apart.
      if (whole && box.width >= SEAM_FROM) {
        context.clearRect(box.x + box.width - 1, row.top, 1, row.height);
      }
    }
  }

  private _colour(name: string, kind: number): string {
    switch (kind) {
      case SpanKind.transfer:
        return this._theme!.transfer;
      case SpanKind.spill:
        return this._theme!.spill;
      case SpanKind.failed:
        return this._theme!.failed;
      default:
        return stageColour(this.model.colourIndex(name));
    }
  }

  /** Everything around the picture: names of workers, rows, time axis, cursor. */
  private _drawFrame(width: number, height: number): void {
    const theme = this._theme!;
    const ratio = this._ratio;
    const context = this._canvas.getContext('2d')!;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = theme.font;
    context.textBaseline = 'middle';
    context.textAlign = 'right';
    let nextLabel = 0;
    for (const group of this._layout.groups) {
      const top = group.top / ratio;
      const groupHeight = group.height / ratio;
      context.fillStyle = theme.row;
      context.fillRect(LABEL_WIDTH, top, width - LABEL_WIDTH, groupHeight);
      const middle = top + groupHeight / 2;
      if (middle >= nextLabel && middle > 5 && middle < height - AXIS_HEIGHT) {
        context.fillStyle = group.worker.state === 'here' ? theme.text : theme.faint;
        context.fillText(fit(context, group.worker.name, LABEL_WIDTH - 12), LABEL_WIDTH - 8, middle);
        nextLabel = middle + 13;
      }
    }
    const bottom = height - AXIS_HEIGHT;
    const msPerCss = this._window.msPerPixel * ratio;
    const step = timeStep(msPerCss, 90);
    const zero = this.model.startedUnixMs;
    context.textAlign = 'center';
    const first = Math.ceil((zero + this._window.left) / step) * step;
    for (let at = first; at <= zero + this._window.right; at += step) {
      const x = LABEL_WIDTH + this._window.x(at - zero) / ratio;
      context.fillStyle = theme.grid;
      context.fillRect(Math.round(x), 0, 1, bottom + 4);
      if (x > LABEL_WIDTH + 24 && x < width - 26) {
        context.fillStyle = theme.faint;
        context.fillText(clock(at, step), x, bottom + AXIS_HEIGHT / 2 + 2);
      }
    }
    context.fillStyle = theme.grid;
    context.fillRect(LABEL_WIDTH, bottom, width - LABEL_WIDTH, 1);
    if (this._cursor && document.activeElement === this._canvas) {
      const row = this._layout.row(this._cursor.lane);
      if (row) {
        context.strokeStyle = theme.text;
        context.lineWidth = 2;
        const x = LABEL_WIDTH + this._window.x(this._cursor.at) / ratio;
        context.strokeRect(x - 3, row.top / ratio - 1, 6, row.height / ratio + 2);
      }
    }
    if (this._workers.length === 0 && this.model.connection === 'live') {
      context.fillStyle = theme.faint;
      context.fillText(this.translate('No workers yet'), LABEL_WIDTH + (width - LABEL_WIDTH) / 2, bottom / 2);
    }
  }

  private _drawLegend(): void {
    const names = new Set<string>();
    const stages = [...this.model.stages.values()];
    for (let i = stages.length - 1; i >= 0 && names.size < LEGEND_MAX; i--) {
      names.add(stages[i].name);
    }
    const key = [...names].join('\n') + this._theme!.failed;
    if (key === this._legendKey) {
      return;
    }
    this._legendKey = key;
    const entry = (colour: string, label: string) => {
      const item = element('span', 'nuna-legend-entry', label);
      item.title = label;
      const swatch = element('i', 'nuna-swatch');
      swatch.style.background = colour;
      item.prepend(swatch);
      return item;
    };
    const t = this.translate;
    this._legend.replaceChildren(
      ...[...names].reverse().map(name => entry(this._colour(name, SpanKind.compute), name)),
      entry(this._theme!.transfer, t('transfer')),
      entry(this._theme!.spill, t('spill')),
      entry(this._theme!.failed, t('failed'))
    );
  }

  private _drawTable(): void {
    const now = performance.now();
    if (now - this._tableAt < 500) {
      return;
    }
    this._tableAt = now;
    const t = this.translate;
    const { spans, stages } = this.model;
    const rows: HTMLElement[] = [];
    for (let i = spans.total - 1; i >= spans.first && rows.length < TABLE_ROWS_MAX; i--) {
      const slot = spans.slot(i);
      const worker = this.model.workerOfLane(spans.lane[slot]);
      const row = element('tr');
      for (const cell of [
        stages.get(spans.stage[slot])?.name ?? '',
        t(spanKindNames[spans.kind[slot]]),
        worker?.name ?? '',
        worker ? String(spans.lane[slot] - worker.firstLane) : '',
        clock(this.model.startedUnixMs + spans.start[slot], 1),
        duration(spans.duration[slot])
      ]) {
        row.append(element('td', '', cell));
      }
      rows.push(row);
    }
    if (!this._tableBody) {
      const table = element('table', 'nuna-table');
      const head = element('tr');
      for (const name of [t('Stage'), t('Kind'), t('Worker'), t('Thread'), t('Started'), t('Took')]) {
        const cell = element('th', '', name);
        cell.scope = 'col';
        head.append(cell);
      }
      const thead = element('thead');
      thead.append(head);
      this._tableBody = element('tbody');
      table.append(element('caption', '', t('Latest tasks, newest first')), thead, this._tableBody);
      this._table.append(table);
    }
    this._tableBody.replaceChildren(...rows);
  }

  private _listen(): void {
    const plot = this._plot;
    const x = (event: MouseEvent) => event.offsetX * this._ratio;
    plot.addEventListener(
      'wheel',
      event => {
        event.preventDefault();
        if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
          this._pan((event.deltaX || event.deltaY) * this._ratio);
        } else {
          const anchor = this._following ? this._window.width : x(event);
          this._zoom(event.deltaY > 0 ? ZOOM_STEP : 1 / ZOOM_STEP, anchor);
        }
      },
      { passive: false }
    );
    plot.addEventListener('pointerdown', event => {
      if (event.button === 0) {
        plot.setPointerCapture(event.pointerId);
        this._dragX = event.clientX;
      }
    });
    plot.addEventListener('pointermove', event => {
      if (this._dragX !== null) {
        const moved = event.clientX - this._dragX;
        if (moved !== 0) {
          this._dragX = event.clientX;
          this._pan(-moved * this._ratio);
        }
      } else {
        this._hover(event);
      }
    });
    const drop = () => (this._dragX = null);
    plot.addEventListener('pointerup', drop);
    plot.addEventListener('pointercancel', drop);
    plot.addEventListener('pointerleave', () => this._hideTooltip());
    plot.addEventListener('dblclick', () => this._follow());
    this._canvas.addEventListener('keydown', event => this._key(event));
    for (const name of ['focus', 'blur']) {
      this._canvas.addEventListener(name, () => {
        this._hideTooltip();
        this.schedule();
      });
    }
  }

  private _key(event: KeyboardEvent): void {
    const page = this._window.width / 4;
    switch (event.key) {
      case 'ArrowLeft':
      case 'ArrowRight':
        this._moveCursor(event.key === 'ArrowLeft' ? -1 : 1);
        break;
      case 'ArrowUp':
      case 'ArrowDown':
        this._moveCursorLane(event.key === 'ArrowUp' ? -1 : 1);
        break;
      case 'PageUp':
        this._pan(-page);
        break;
      case 'PageDown':
        this._pan(page);
        break;
      case '+':
      case '=':
        this._zoom(1 / ZOOM_STEP, this._following ? this._window.width : this._window.width / 2);
        break;
      case '-':
        this._zoom(ZOOM_STEP, this._following ? this._window.width : this._window.width / 2);
        break;
      case ' ':
        this._following ? this._hold() : this._follow();
        break;
      case 'Home':
        this._follow();
        break;
      default:
        return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** To the next or previous task of the cursor's lane; the first press takes the latest task. */
  private _moveCursor(step: 1 | -1): void {
    const { spans } = this.model;
    const from = this._cursor;
    let best = -1;
    for (let i = spans.total - 1; i >= spans.first; i--) {
      const slot = spans.slot(i);
      if (!from) {
        best = slot;
        break;
      }
      if (spans.lane[slot] !== from.lane || (spans.start[slot] - from.start) * step <= 0) {
        continue;
      }
      if (best < 0 || (spans.start[slot] - spans.start[best]) * step < 0) {
        best = slot;
      }
    }
    if (best >= 0) {
      this._setCursor(best);
    }
  }

  private _moveCursorLane(step: 1 | -1): void {
    if (!this._cursor) {
      this._moveCursor(-1);
      return;
    }
    const { spans } = this.model;
    const { at } = this._cursor;
    const here = this._layout.row(this._cursor.lane)?.top ?? 0;
    let best = -1;
    let bestScore = Infinity;
    for (let i = spans.first; i < spans.total; i++) {
      const slot = spans.slot(i);
      const row = this._layout.row(spans.lane[slot]);
      if (!row || (row.top - here) * step <= 0) {
        continue;
      }
      // Rows first, then time.
      const score = Math.abs(row.top - here) * 1e9 + Math.abs(spans.start[slot] - at);
      if (score < bestScore) {
        best = slot;
        bestScore = score;
      }
    }
    if (best >= 0) {
      this._setCursor(best);
    }
  }

  private _setCursor(slot: number): void {
    const { spans } = this.model;
    this._hold();
    const start = spans.start[slot];
    const at = start + spans.duration[slot] / 2;
    this._cursor = { lane: spans.lane[slot], at, start };
    const x = this._window.x(at);
    if (x < 0 || x >= this._window.width) {
      this._window.pan(x - this._window.width / 2);
      this._fresh = false;
    }
    const row = this._layout.row(spans.lane[slot]);
    this._describe(slot, LABEL_WIDTH + this._window.x(at) / this._ratio, ((row?.top ?? 0) + 12) / this._ratio);
    this.schedule();
  }

  private _hover(event: PointerEvent): void {
    const lane = this._layout?.laneAt(event.offsetY * this._ratio);
    const at = this._window.time(event.offsetX * this._ratio);
    const slack = 2 * this._window.msPerPixel;
    const { spans } = this.model;
    for (let i = spans.total - 1; lane !== undefined && i >= spans.first; i--) {
      const slot = spans.slot(i);
      const start = spans.start[slot];
      if (spans.lane[slot] === lane && start - slack <= at && at <= start + spans.duration[slot] + slack) {
        this._describe(slot, LABEL_WIDTH + event.offsetX, event.offsetY);
        return;
      }
    }
    this._hideTooltip();
  }

  /** What the stream says at once; which block it was a moment later, from the cluster. */
  private _describe(slot: number, x: number, y: number): void {
    const { spans } = this.model;
    const lane = spans.lane[slot];
    const start = spans.start[slot];
    const length = spans.duration[slot];
    const worker = this.model.workerOfLane(lane);
    const key = `${lane}@${start}`;
    if (key !== this._hoverKey) {
      this._hoverKey = key;
      const stage = this.model.stages.get(spans.stage[slot]);
      const kind = spans.kind[slot];
      const title = element('strong', '', stage?.name ?? this.translate('stage %1', String(spans.stage[slot])));
      const block = element('div');
      const where = `${worker?.name ?? '?'} · ${this.translate('thread %1', String(lane - (worker?.firstLane ?? lane)))}`;
      const took = `${duration(length)} · ${clock(this.model.startedUnixMs + start, 1)}`;
      this._tooltip.replaceChildren(title, block, element('div', '', where), element('div', '', took));
      if (kind !== SpanKind.compute) {
        title.append(` (${this.translate(spanKindNames[kind])})`);
      }
      clearTimeout(this._hoverTimer);
      this._hoverTimer = setTimeout(() => {
        this.connection.taskAt(lane, start + length / 2, length / 2 + 0.001).then(
          task => {
            if (task && this._hoverKey === key) {
              const of = task.blocks === null ? '' : ` / ${count(task.blocks)}`;
              setText(block, `${task.label ? `${task.label} · ` : ''}${this.translate('block')} ${count(task.block)}${of}`);
            }
          },
          () => setText(block, '')
        );
      }, HOVER_DELAY);
    }
    this._tooltip.hidden = false;
    const { clientWidth, clientHeight } = this._frame;
    const left = Math.min(x + 14, clientWidth - this._tooltip.offsetWidth - 4);
    const below = y + 16 + this._tooltip.offsetHeight < clientHeight;
    const top = below ? y + 16 : Math.max(0, y - this._tooltip.offsetHeight - 8);
    this._tooltip.style.left = `${Math.max(0, left)}px`;
    this._tooltip.style.top = `${top}px`;
  }

  private _hideTooltip(): void {
    this._hoverKey = '';
    this._tooltip.hidden = true;
    clearTimeout(this._hoverTimer);
  }

  private _pan(pixels: number): void {
    this._hold();
    this._window.pan(pixels);
    this._fresh = false;
    this.schedule();
  }

  private _zoom(factor: number, x: number): void {
    this._window.zoom(factor, x);
    this._fresh = false;
    this._hideTooltip();
    this.schedule();
  }

  private _follow(): void {
    this._following = true;
    this._cursor = null;
    this._showMode();
    this._fresh = false;
    this.schedule();
  }

  private _hold(): void {
    this._following = false;
    this._showMode();
    this.schedule();
  }

  private _showMode(): void {
    this._live.setAttribute('aria-pressed', String(this._following));
    this._pause.setAttribute('aria-pressed', String(!this._following));
  }

  private _toggleTable(): void {
    this._table.hidden = !this._table.hidden;
    this._frame.hidden = !this._table.hidden;
    this._tableButton.setAttribute('aria-pressed', String(!this._table.hidden));
    this._tableAt = 0;
    this._fresh = false;
    this.schedule();
  }

  private _button(label: string, title: string, action: () => void): HTMLButtonElement {
    const button = element('button', 'nuna-tool', label);
    button.type = 'button';
    button.title = title;
    if (label.length === 1) {
      button.setAttribute('aria-label', title);
    }
    button.addEventListener('click', action);
    this._tools.append(button);
    return button;
  }

  private _tools = element('div', 'nuna-tools');
  private _legend = element('div', 'nuna-legend');
  private _frame = element('div', 'nuna-frame');
  private _canvas = element('canvas', 'nuna-axes');
  private _plot = element('canvas', 'nuna-plot');
  private _tooltip = element('div', 'nuna-tooltip');
  private _table = element('div', 'nuna-scroll');
  private _tableBody: HTMLTableSectionElement | null = null;
  private _live: HTMLButtonElement;
  private _pause: HTMLButtonElement;
  private _tableButton: HTMLButtonElement;
  private _window = new TimeWindow(0, 1);
  private _layout = new LaneLayout([], 1);
  private _workers: IWorker[] = [];
  private _theme: ITheme | null = null;
  private _ratio = 1;
  private _following = true;
  /** False when everything must be drawn again. */
  private _fresh = false;
  private _drawn = 0;
  private _generation = -1;
  private _layoutVersion = -1;
  private _cursor: { lane: number; at: number; start: number } | null = null;
  private _dragX: number | null = null;
  private _hoverKey = '';
  private _hoverTimer: ReturnType<typeof setTimeout> | undefined;
  private _legendKey = '';
  private _tableAt = 0;
}

/** Workers that are here, and a few that went, so that their past can still be seen. */
function shownWorkers(workers: IWorker[]): IWorker[] {
  const gone = workers.filter(worker => worker.state !== 'here').slice(-8);
  return workers.filter(worker => worker.state === 'here' || gone.includes(worker));
}

function size(canvas: HTMLCanvasElement, width: number, height: number, ratio: number): void {
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
}

function fit(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (context.measureText(text).width <= width) {
    return text;
  }
  // The end of a node's name tells nodes apart.
  let cut = text;
  while (cut.length > 1 && context.measureText(`…${cut}`).width > width) {
    cut = cut.slice(1);
  }
  return `…${cut}`;
}
