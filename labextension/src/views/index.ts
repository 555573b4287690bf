/** Every view by its kind: what shells choose from. */
import { MemoryView } from './memory/view';
import { ProgressView } from './progress/view';
import { TaskStreamView } from './taskstream/view';
import type { IViewOptions, View, ViewKind } from './view';
import { WorkersView } from './workers/view';

export const VIEW_KINDS: readonly ViewKind[] = ['taskstream', 'progress', 'workers', 'memory'];

export const VIEW_TITLES: Record<ViewKind, string> = {
  taskstream: 'Task Stream',
  progress: 'Progress',
  workers: 'Workers',
  memory: 'Memory'
};

export function createView(kind: ViewKind, options: IViewOptions): View {
  switch (kind) {
    case 'taskstream':
      return new TaskStreamView(options);
    case 'progress':
      return new ProgressView(options);
    case 'workers':
      return new WorkersView(options);
    case 'memory':
      return new MemoryView(options);
  }
}

export type { ViewKind } from './view';
export { View } from './view';
