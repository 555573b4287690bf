/** Memory and CPU of the whole cluster over time: managed and other memory stacked, spilled, the limit. */
import type { ITotals } from '../../protocol';
import { readTheme } from '../colour';
import type { ITheme } from '../colour';
import { bytes, clock, timeStep } from '../format';
import { View, element, setText } from '../view';
import type { IViewOptions } from '../view';
import { bytesTop, levels, used, visible, x, y } from './layout';
import type { IScale } from './layout';

const WINDOWS: [number, string][] = [
  [60_000, '1 min'],
  [300_000, '5 min'],
  [3_600_000, '1 h']
];
const LEFT = 62;
const AXIS_HEIGHT = 20;
const GAP = 14;
const CPU_SHARE = 0.26;
const TABLE_ROWS_MAX = 120;

export class MemoryView extends View {
  constructor(options: IViewOptions) {
    super(options, 'memory', ['totals']);
    const t = this.translate;
    for (const [ms, label] of WINDOWS) {
      const button = element('button', 'nuna-tool', label);
      button.type = 'button';
      button.addEventListener('click', () => this._choose(ms));
      this._tools.append(button);
      this._buttons.set(ms, button);
    }
    this._tableButton.type = 'button';
    this._tableButton.textContent = t('Table');
    this._tableButton.addEventListener('click', () => this._toggleTable());
    this._tools.append(this._tableButton, this._legend);
    this._canvas.setAttribute('role', 'img');
    this._frame.append(this._canvas);
    this._table.hidden = true;
    this.body.append(this._tools, this._frame, this._table);
    this.watch(this._frame);
    this._choose(WINDOWS[0][0]);
    this._tableButton.setAttribute('aria-pressed', 'false');
  }

  protected get pulse(): number {
    return this.model.connection === 'live' ? 1000 : Infinity;
  }

  protected resized(): void {
    this._drawnAt = -1;
    this._theme = null;
  }

  protected draw(): void {
    const present = this.model.present();
    // Totals come once a second; between them nothing new can be seen.
    const due = present - this._drawnAt >= 500 || present < this._drawnAt;
    if (this._drawnAt >= 0 && !due && this._generation === this.model.generation) {
      return;
    }
    this._drawnAt = present;
    this._generation = this.model.generation;
    if (!this._table.hidden) {
      this._drawTable();
      return;
    }
    const width = this._frame.clientWidth;
    const height = this._frame.clientHeight;
    const plotWidth = width - LEFT - 8;
    const cpuHeight = Math.round((height - AXIS_HEIGHT - GAP) * CPU_SHARE);
    const memoryHeight = height - AXIS_HEIGHT - GAP - cpuHeight - 6;
    if (plotWidth < 20 || memoryHeight < 20) {
      return;
    }
    const ratio = window.devicePixelRatio || 1;
    this._theme ??= readTheme(this.node);
    this._canvas.width = Math.round(width * ratio);
    this._canvas.height = Math.round(height * ratio);
    this._canvas.style.width = `${width}px`;
    this._canvas.style.height = `${height}px`;
    const context = this._canvas.getContext('2d')!;
    context.scale(ratio, ratio);
    context.font = this._theme.font;
    const from = Math.max(0, present - this._span);
    const to = Math.max(present, from + Math.min(this._span, 20_000));
    const points = visible(this.model.series, from, to, plotWidth * ratio);
    const memory: IScale = { from, to, top: bytesTop(points), width: plotWidth, height: memoryHeight };
    const threads = this.model.workersHere.reduce((sum, worker) => sum + worker.threads, 0);
    const cpuTop = Math.max(1, threads, ...points.map(point => point.cpu));
    const cpu: IScale = { from, to, top: cpuTop, width: plotWidth, height: cpuHeight };

    context.translate(LEFT, 6);
    this._drawTime(context, memory, memoryHeight + GAP + cpuHeight);
    this._drawMemory(context, memory, points);
    context.translate(0, memoryHeight + GAP);
    this._drawCpu(context, cpu, points);
    this._drawLegend();
    const last = points[points.length - 1];
    this._canvas.setAttribute(
      'aria-label',
      last
        ? this.translate(
            'Memory over time: now %1 managed, %2 in all, %3 spilled, limit %4; %5 cores busy',
            bytes(last.managed),
            bytes(used(last)),
            bytes(last.spilled),
            bytes(last.limit),
            last.cpu.toFixed(1)
          )
        : this.translate('Memory over time: nothing measured yet')
    );
  }

  private _drawTime(context: CanvasRenderingContext2D, scale: IScale, height: number): void {
    const theme = this._theme!;
    const zero = this.model.startedUnixMs;
    const step = timeStep((scale.to - scale.from) / scale.width, 90);
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    for (let at = Math.ceil((zero + scale.from) / step) * step; at <= zero + scale.to; at += step) {
      const at_x = Math.round(x(scale, at - zero));
      context.fillStyle = theme.grid;
      context.fillRect(at_x, 0, 1, height);
      if (at_x > 24 && at_x < scale.width - 20) {
        context.fillStyle = theme.faint;
        context.fillText(clock(at, step), at_x, height + AXIS_HEIGHT / 2 + 2);
      }
    }
  }

  private _drawMemory(context: CanvasRenderingContext2D, scale: IScale, points: readonly ITotals[]): void {
    const theme = this._theme!;
    this._drawLevels(context, scale, 4, bytes);
    area(context, scale, points, point => point.managed, used, theme.unmanaged);
    area(context, scale, points, () => 0, point => point.managed, theme.managed);
    line(context, scale, points, point => point.spilled, theme.spill, []);
    // Before the first worker there is no limit, which is not a limit of nothing.
    const limited = points.filter(point => point.limit > 0);
    if (limited.some(point => point.limit <= scale.top)) {
      line(context, scale, limited, point => Math.min(point.limit, scale.top), theme.limit, [5, 4]);
    }
  }

  private _drawCpu(context: CanvasRenderingContext2D, scale: IScale, points: readonly ITotals[]): void {
    const theme = this._theme!;
    this._drawLevels(context, scale, 2, value => this.translate('%1 cores', String(value)));
    area(context, scale, points, () => 0, point => point.cpu, theme.cpu);
  }

  private _drawLevels(context: CanvasRenderingContext2D, scale: IScale, parts: number, label: (v: number) => string): void {
    const theme = this._theme!;
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    const fitting = Math.max(1, Math.min(parts, Math.floor(scale.height / 22)));
    for (const value of levels(scale.top, fitting)) {
      const at = Math.round(y(scale, value));
      context.fillStyle = theme.grid;
      context.fillRect(0, at, scale.width, 1);
      context.fillStyle = theme.faint;
      context.fillText(value === 0 ? '0' : label(value), -6, at);
    }
  }

  private _drawLegend(): void {
    const theme = this._theme!;
    const last = this.model.latest;
    const t = this.translate;
    const entries: [string, string][] = [
      [theme.managed, t('managed %1', bytes(last?.managed ?? 0))],
      [theme.unmanaged, t('other %1', bytes(last ? used(last) - last.managed : 0))],
      [theme.spill, t('spilled %1', bytes(last?.spilled ?? 0))],
      [theme.limit, t('limit %1', bytes(last?.limit ?? 0))],
      [theme.cpu, t('%1 cores', (last?.cpu ?? 0).toFixed(1))]
    ];
    entries.forEach(([colour, text], i) => {
      let item = this._legend.children[i] as HTMLElement | undefined;
      if (!item) {
        item = element('span', 'nuna-legend-entry');
        item.append(element('i', 'nuna-swatch'), element('span'));
        this._legend.append(item);
      }
      (item.firstChild as HTMLElement).style.background = colour;
      setText(item.lastChild as HTMLElement, text);
    });
  }

  private _drawTable(): void {
    const t = this.translate;
    const table = element('table', 'nuna-table');
    const row = (cells: string[], tag: 'td' | 'th') => {
      const node = element('tr');
      cells.forEach(cell => node.append(element(tag, '', cell)));
      return node;
    };
    const thead = element('thead');
    thead.append(row([t('Time'), t('Managed'), t('Other'), t('Spilled'), t('Limit'), t('Cores')], 'th'));
    const tbody = element('tbody');
    for (const point of this.model.series.slice(-TABLE_ROWS_MAX).reverse()) {
      const cells = [point.managed, used(point) - point.managed, point.spilled, point.limit].map(bytes);
      tbody.append(row([clock(this.model.startedUnixMs + point.at, 1000), ...cells, point.cpu.toFixed(1)], 'td'));
    }
    table.append(element('caption', '', t('Memory of all workers, newest first')), thead, tbody);
    const top = this._table.scrollTop;
    this._table.replaceChildren(table);
    this._table.scrollTop = top;
  }

  private _choose(ms: number): void {
    this._span = ms;
    this._buttons.forEach((button, value) => button.setAttribute('aria-pressed', String(value === ms)));
    this._drawnAt = -1;
    this.schedule();
  }

  private _toggleTable(): void {
    this._table.hidden = !this._table.hidden;
    this._frame.hidden = !this._table.hidden;
    this._tableButton.setAttribute('aria-pressed', String(!this._table.hidden));
    this._drawnAt = -1;
    this.schedule();
  }

  private _tools = element('div', 'nuna-tools');
  private _legend = element('div', 'nuna-legend');
  private _frame = element('div', 'nuna-frame');
  private _canvas = element('canvas', 'nuna-axes');
  private _table = element('div', 'nuna-scroll');
  private _tableButton = element('button', 'nuna-tool');
  private _buttons = new Map<number, HTMLButtonElement>();
  private _span = WINDOWS[0][0];
  private _theme: ITheme | null = null;
  private _drawnAt = -1;
  private _generation = -1;
}

type Value = (point: ITotals) => number;

function area(
  context: CanvasRenderingContext2D,
  scale: IScale,
  points: readonly ITotals[],
  low: Value,
  high: Value,
  colour: string
): void {
  if (points.length < 2) {
    return;
  }
  context.fillStyle = colour;
  context.beginPath();
  points.forEach(point => context.lineTo(x(scale, point.at), y(scale, high(point))));
  for (let i = points.length - 1; i >= 0; i--) {
    context.lineTo(x(scale, points[i].at), y(scale, low(points[i])));
  }
  context.closePath();
  context.save();
  const clip = new Path2D();
  clip.rect(0, 0, scale.width, scale.height);
  context.clip(clip);
  context.fill();
  context.restore();
}

function line(
  context: CanvasRenderingContext2D,
  scale: IScale,
  points: readonly ITotals[],
  value: Value,
  colour: string,
  dash: number[]
): void {
  context.save();
  const clip = new Path2D();
  clip.rect(0, 0, scale.width, scale.height);
  context.clip(clip);
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  context.setLineDash(dash);
  context.beginPath();
  points.forEach(point => context.lineTo(x(scale, point.at), y(scale, value(point))));
  context.stroke();
  context.restore();
}
