/** Where the points of a series are: bytes and time to pixels, and how many points are worth drawing. No DOM. */
import type { ITotals } from '../../protocol';
import { niceCeil } from '../format';

export interface IScale {
  /** Time at the left and right edges. */
  from: number;
  to: number;
  /** Value at the top edge. */
  top: number;
  width: number;
  height: number;
}

/** The points in view, thinned to one per pixel by taking each pixel's largest use of memory. */
export function visible(series: readonly ITotals[], from: number, to: number, width: number): ITotals[] {
  const kept: ITotals[] = [];
  const perPixel = Math.max(1e-9, (to - from) / Math.max(1, width));
  let pixel = -Infinity;
  for (const point of series) {
    if (point.at < from - 2000 || point.at > to) {
      continue;
    }
    const here = Math.floor(point.at / perPixel);
    if (here !== pixel) {
      kept.push(point);
      pixel = here;
    } else if (used(point) > used(kept[kept.length - 1])) {
      kept[kept.length - 1] = point;
    }
  }
  return kept;
}

export function used(point: ITotals): number {
  return Math.max(point.managed, point.rss);
}

/**
 * The end of the bytes axis. The limit belongs in the picture only when use comes near it: with 1 % used,
 * an axis up to the limit would show a flat line.
 */
export function bytesTop(points: readonly ITotals[]): number {
  const most = points.reduce((top, point) => Math.max(top, used(point), point.spilled), 0);
  const limit = points.length > 0 ? points[points.length - 1].limit : 0;
  return limit > 0 && most > limit / 4 ? Math.max(limit * 1.05, most * 1.05) : niceCeil(Math.max(most * 1.2, 1e6));
}

/** Round values to mark on an axis, the first of them 0; at most `parts` above it. */
export function levels(top: number, parts: number): number[] {
  const step = niceCeil(top / Math.max(1, parts));
  const marks = [0];
  while (marks[marks.length - 1] + step <= top * 1.0001) {
    marks.push(marks.length * step);
  }
  return marks;
}

export function x(scale: IScale, at: number): number {
  return ((at - scale.from) / (scale.to - scale.from)) * scale.width;
}

export function y(scale: IScale, value: number): number {
  return scale.height * (1 - value / scale.top);
}
