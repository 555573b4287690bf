/** How workers are ordered and how a worker's memory is divided. No DOM. */
import type { IWorker } from '../../model';

export const ROWS_MAX = 300;

export type SortKey = 'name' | 'threads' | 'cpu' | 'memory' | 'spilled';

/** The shares of a memory bar, from 0 to 1 of the limit; `over` says the limit is passed. */
export interface IMemoryShares {
  managed: number;
  unmanaged: number;
  over: boolean;
}

export function memoryShares(worker: Pick<IWorker, 'managed' | 'rss' | 'memoryLimit'>): IMemoryShares {
  const limit = Math.max(1, worker.memoryLimit);
  const used = Math.max(worker.managed, worker.rss);
  const managed = Math.min(1, worker.managed / limit);
  return { managed, unmanaged: Math.min(1, used / limit) - managed, over: used > limit };
}

/** Workers that are here before those that went; then by `key`, names as people count. */
export function sorted(workers: Iterable<IWorker>, key: SortKey, descending: boolean): IWorker[] {
  const value = (worker: IWorker): number => {
    switch (key) {
      case 'threads':
        return worker.threadsBusy;
      case 'cpu':
        return worker.cpu;
      case 'memory':
        return Math.max(worker.managed, worker.rss);
      case 'spilled':
        return worker.spilled;
      case 'name':
        return 0;
    }
  };
  const sign = descending ? -1 : 1;
  return [...workers].sort(
    (a, b) =>
      Number(a.state !== 'here') - Number(b.state !== 'here') ||
      sign * (value(a) - value(b)) ||
      (key === 'name' ? sign : 1) * a.name.localeCompare(b.name, 'en', { numeric: true }) ||
      a.id - b.id
  );
}
