/**
 * Ways to the dashboards: behind JupyterHub the hub's service, so that clusters outlive this server; otherwise,
 * and when the service cannot be reached, this server's own part. Addresses come from them, never from pages.
 */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { IEndpoint } from './connection';

export interface IClusterInfo {
  name: string;
  /** RFC 3339. */
  started: string;
  /** Kernel id of the notebook that started it, or empty. */
  origin: string;
  /** Path of its dashboard on this host. */
  url: string;
}

interface IConfig {
  mode: 'hub' | 'server';
  service?: string;
  user?: string;
  /** When the batch system ends this server, in seconds since 1970. */
  walltime_end?: number;
}

/** How long to go without the hub's service after it failed. */
const SERVICE_PAUSE = 30_000;
/** How long a list waits for the service's word. */
const SERVICE_PATIENCE = 1000;
const SIGN_IN_LIMIT = 15_000;

export class Api {
  constructor(private _settings: ServerConnection.ISettings) {}

  /** Clusters of this user. The service knows them all; this server only those of its machine. */
  async clusters(): Promise<IClusterInfo[]> {
    this._config ??= await this._ask();
    const service = this._config.mode === 'hub' ? this._askService(this._config) : Promise.resolve();
    const near = await this._nearClusters();
    // A cluster of this machine is shown at once, also while the service still signs us in.
    await Promise.race([service, new Promise(next => setTimeout(next, SERVICE_PATIENCE))]);
    const names = new Set(this._known.map(cluster => cluster.name));
    return [...this._known, ...near.filter(cluster => !names.has(cluster.name))];
  }

  /** When the batch system ends this server, in milliseconds since 1970; nothing outside of a job. */
  async walltimeEnd(): Promise<number | null> {
    this._config ??= await this._ask();
    const end = this._config.walltime_end;
    return typeof end === 'number' && end > 0 ? end * 1000 : null;
  }

  private async _ask(): Promise<IConfig> {
    return (await this._server('api/config')) as IConfig;
  }

  endpoint(cluster: () => IClusterInfo | undefined): IEndpoint {
    const base = () => {
      const info = cluster();
      if (!info) {
        throw new Error('it is not running');
      }
      return new URL(info.url, this._settings.baseUrl);
    };
    return {
      webSocketUrl: () => {
        const url = new URL('ws', base());
        url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
        if (this._settings.appendToken && this._settings.token && this._isServers(url)) {
          url.searchParams.set('token', this._settings.token);
        }
        return url.href;
      },
      getJson: async path => {
        const url = new URL(path, base());
        return this._isServers(url) ? this._json(url.href) : hubJson(await fetch(url, { credentials: 'same-origin' }));
      }
    };
  }

  /** Below this server's base, and so reached with this server's credentials. */
  private _isServers(url: URL): boolean {
    return url.pathname.startsWith(new URL('nuna/', this._settings.baseUrl).pathname);
  }

  private async _nearClusters(): Promise<IClusterInfo[]> {
    return (await this._server('api/clusters')) as IClusterInfo[];
  }

  private _server(path: string): Promise<unknown> {
    return this._json(URLExt.join(this._settings.baseUrl, 'nuna', path));
  }

  private async _json(url: string): Promise<unknown> {
    const response = await ServerConnection.makeRequest(url, {}, this._settings);
    if (!response.ok) {
      throw await ServerConnection.ResponseError.create(response);
    }
    return response.json();
  }

  /** Brings what the service knows up to date; one question at a time, and none for a while after a failure. */
  private async _askService(config: IConfig): Promise<void> {
    if (this._asking || Date.now() < this._serviceAfter) {
      return;
    }
    this._asking = true;
    try {
      this._known = await this._service(config);
    } catch (error) {
      console.warn('Nuna: the hub service cannot be used for now, only clusters of this machine are shown;', error);
      this._known = [];
      this._serviceAfter = Date.now() + SERVICE_PAUSE;
    } finally {
      this._asking = false;
    }
  }

  private async _service(config: IConfig): Promise<IClusterInfo[]> {
    const service = config.service ?? '/services/nuna/';
    const list = () => fetch(`${service}api/clusters`, { credentials: 'same-origin', redirect: 'manual' });
    let response = await list();
    if (response.status === 401 || response.status === 403 || response.type === 'opaqueredirect') {
      await signIn(`${service}login`);
      response = await list();
    }
    const clusters = (await hubJson(response)) as (IClusterInfo & { user: string })[];
    return clusters.filter(cluster => !config.user || cluster.user === config.user);
  }

  private _config: IConfig | null = null;
  private _known: IClusterInfo[] = [];
  private _asking = false;
  private _serviceAfter = 0;
}

async function hubJson(response: Response): Promise<unknown> {
  if (!response.ok || !response.headers.get('content-type')?.includes('json')) {
    throw new Error(`${response.url}: ${response.status} ${response.statusText}`);
  }
  return response.json();
}

/**
 * Gets the service's cookie by the hub's OAuth. It takes a navigation: the hub gives its cookies to no fetch.
 * The frame needs to show nothing, and ends wherever the hub sends it.
 */
function signIn(url: string): Promise<void> {
  return new Promise(resolve => {
    const frame = document.createElement('iframe');
    frame.hidden = true;
    frame.title = 'Nuna';
    frame.src = url;
    const done = () => {
      clearTimeout(limit);
      frame.remove();
      resolve();
    };
    const limit = setTimeout(done, SIGN_IN_LIMIT);
    frame.addEventListener('load', done);
    document.body.append(frame);
  });
}
