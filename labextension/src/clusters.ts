/** The clusters of this user, looked up again and again while the page can be seen; no DOM beyond that. */
import type { Api, IClusterInfo } from './api';
import { ClusterConnection } from './connection';
import { Emitter } from './signal';

const POLL = 1500;
const POLL_AFTER_FAILURE = 5000;

export class ClusterDirectory {
  constructor(private _api: Api) {
    this.ready = new Promise(resolve => (this._setReady = resolve));
    void this._poll();
    document.addEventListener('visibilitychange', this._onVisibility);
  }

  readonly changed = new Emitter<ClusterDirectory>();
  /** Resolves after the first answer, also if it was a failure. */
  readonly ready: Promise<void>;
  clusters: IClusterInfo[] = [];
  /** Why the list may be old, or empty. */
  problem = '';
  /** Kernel of the notebook in front; its cluster is the one meant when none is named. */
  get kernel(): string {
    return this._kernel;
  }
  set kernel(id: string) {
    if (id !== this._kernel) {
      this._kernel = id;
      this.changed.emit(this);
    }
  }

  /** The cluster of the notebook in front, or else the only one, or the one started last. */
  get current(): IClusterInfo | undefined {
    const own = this.clusters.filter(cluster => cluster.origin !== '' && cluster.origin === this._kernel);
    return own[own.length - 1] ?? this.clusters[this.clusters.length - 1];
  }

  isOwn(cluster: IClusterInfo): boolean {
    return cluster.origin !== '' && cluster.origin === this._kernel;
  }

  find(name: string): IClusterInfo | undefined {
    return this.clusters.find(cluster => cluster.name === name);
  }

  /** The one connection of a cluster, shared by all its views. */
  connection(name: string): ClusterConnection {
    let connection = this._connections.get(name);
    if (!connection) {
      connection = new ClusterConnection(this._api.endpoint(() => this.find(name)));
      this._connections.set(name, connection);
    }
    return connection;
  }

  dispose(): void {
    this._disposed = true;
    clearTimeout(this._timer);
    document.removeEventListener('visibilitychange', this._onVisibility);
    this._connections.forEach(connection => connection.dispose());
    this.changed.clear();
  }

  private async _poll(): Promise<void> {
    clearTimeout(this._timer);
    if (this._disposed || this._polling) {
      return;
    }
    this._polling = true;
    let problem = '';
    try {
      const clusters = (await this._api.clusters()).sort(
        (a, b) => a.started.localeCompare(b.started) || a.name.localeCompare(b.name)
      );
      if (JSON.stringify(clusters) !== JSON.stringify(this.clusters)) {
        this.clusters = clusters;
        this.changed.emit(this);
      }
    } catch (error) {
      problem = error instanceof Error ? error.message : String(error);
    }
    if (problem !== this.problem) {
      this.problem = problem;
      this.changed.emit(this);
    }
    this._polling = false;
    this._setReady();
    if (!document.hidden && !this._disposed) {
      this._timer = setTimeout(() => void this._poll(), problem ? POLL_AFTER_FAILURE : POLL);
    }
  }

  private _onVisibility = () => {
    if (!document.hidden) {
      void this._poll();
    }
  };

  private _connections = new Map<string, ClusterConnection>();
  private _kernel = '';
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _polling = false;
  private _disposed = false;
  private _setReady!: () => void;
}
