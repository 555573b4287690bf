/** What other extensions may ask of this one. */
import { Token } from '@lumino/coreutils';

import type { ClusterDirectory } from './clusters';
import type { ViewKind } from './views';

export interface INunaClusters {
  /** The clusters of this user, kept up to date. */
  readonly directory: ClusterDirectory;
  /** Opens a view of a cluster in the main area, or brings it to the front. */
  open(cluster: string, view: ViewKind): Promise<void>;
}

export const INunaClusters = new Token<INunaClusters>(
  '@nuna/labextension:INunaClusters',
  'The Nuna clusters of this user, and the views that show them.'
);
