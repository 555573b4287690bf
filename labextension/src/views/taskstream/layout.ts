/** Where things are in the task stream: rows of lanes, and time on a grid of whole pixels. No DOM. */
import type { IWorker } from '../../model';

export interface IRow {
  top: number;
  height: number;
}

export interface IGroup {
  worker: IWorker;
  top: number;
  height: number;
}

const ROW_MAX = 56;
const GROUP_GAP = 6;

/** Rows of every lane of the workers shown; when there are more lanes than pixels they share pixels. */
export class LaneLayout {
  constructor(workers: readonly IWorker[], height: number) {
    const lanes = workers.reduce((sum, worker) => sum + worker.threads, 0);
    const gaps = Math.max(0, workers.length - 1);
    // Gaps go first when there is little room.
    const gap = lanes + gaps * GROUP_GAP <= height / 3 ? GROUP_GAP : lanes + gaps <= height / 2 ? 1 : 0;
    const room = Math.max(1, height - gaps * gap);
    const pitch = lanes === 0 ? 0 : Math.min(ROW_MAX, room / lanes);
    let y = 0;
    for (const worker of workers) {
      const groupTop = y;
      for (let thread = 0; thread < worker.threads; thread++) {
        const top = Math.floor(y);
        const bottom = Math.floor(y + pitch);
        // One pixel between rows where rows are high enough to spare it.
        const spare = pitch >= 5 ? 1 : 0;
        this._rows.set(worker.firstLane + thread, { top, height: Math.max(1, bottom - top - spare) });
        y += pitch;
      }
      this.groups.push({ worker, top: groupTop, height: y - groupTop });
      y += gap;
    }
    // No gap below the last worker.
    this.height = workers.length > 0 ? y - gap : 0;
  }

  readonly groups: IGroup[] = [];
  readonly height: number;

  row(lane: number): IRow | undefined {
    return this._rows.get(lane);
  }

  /** The lane at a height, or the one nearest to it within 3 pixels. */
  laneAt(y: number): number | undefined {
    let best: number | undefined;
    let distance = 3;
    for (const [lane, row] of this._rows) {
      const away = y < row.top ? row.top - y : y >= row.top + row.height ? y - row.top - row.height + 1 : 0;
      if (away < distance) {
        best = lane;
        distance = away;
        if (away === 0) {
          break;
        }
      }
    }
    return best;
  }

  private _rows = new Map<number, IRow>();
}

/**
 * The window of time that is shown. Its left edge lies on a whole pixel of `msPerPixel`, so that following
 * the present moves what is drawn by whole pixels and never blurs it.
 */
export class TimeWindow {
  constructor(
    public width: number,
    public msPerPixel: number
  ) {}

  /** Time at the left edge, in pixels since the start of the cluster. */
  leftPixel = 0;

  get left(): number {
    return this.leftPixel * this.msPerPixel;
  }

  get right(): number {
    return (this.leftPixel + this.width) * this.msPerPixel;
  }

  x(time: number): number {
    return time / this.msPerPixel - this.leftPixel;
  }

  time(x: number): number {
    return (this.leftPixel + x) * this.msPerPixel;
  }

  /** Puts `time` at the right edge; returns by how many pixels everything moves to the left. */
  follow(time: number): number {
    const before = this.leftPixel;
    this.leftPixel = Math.ceil(time / this.msPerPixel) - this.width;
    return this.leftPixel - before;
  }

  pan(pixels: number): void {
    this.leftPixel = Math.round(this.leftPixel + pixels);
  }

  /** Scales about `x`, which stays where it is. */
  zoom(factor: number, x: number, shortest = 0.0005, longest = 60_000): void {
    const time = this.time(x);
    this.msPerPixel = Math.min(longest, Math.max(shortest, this.msPerPixel * factor));
    this.leftPixel = Math.round(time / this.msPerPixel - x);
  }
}

export interface ISpanBox {
  x: number;
  width: number;
}

/** A span's box in pixels, at least one pixel wide; undefined if it is out of the window. */
export function spanBox(window: TimeWindow, start: number, duration: number): ISpanBox | undefined {
  const left = window.x(start);
  const right = window.x(start + duration);
  if (right < 0 || left >= window.width) {
    return undefined;
  }
  const x = Math.max(0, left);
  return { x, width: Math.max(1, Math.min(window.width, right) - x) };
}
