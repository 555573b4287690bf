/**
 * One WebSocket per cluster, shared by all its views: subscribed to what visible views need, closed when
 * none is visible, opened again with growing pauses when it is lost.
 */
import { ClusterModel } from './model';
import type { Topic } from './protocol';

/** How to reach one cluster's dashboard. */
export interface IEndpoint {
  /** Asked for at each attempt, since a token or a base may have changed. */
  webSocketUrl(): string;
  /** GET of a path such as `api/tasks?lane=1`, answered with JSON. */
  getJson(path: string): Promise<unknown>;
}

export interface ITaskDetail {
  name: string | null;
  label: string | null;
  block: number;
  blocks: number | null;
  worker_name: string | null;
  thread: number;
  start_us: number;
  duration_us: number;
  kind: string;
}

const RETRY_FIRST = 400;
const RETRY_LAST = 5000;
/** Panels are moved around by taking them out and putting them in again. */
const CLOSE_AFTER = 1500;

export class ClusterConnection {
  constructor(
    readonly endpoint: IEndpoint,
    readonly model: ClusterModel = new ClusterModel()
  ) {}

  /** Keeps `topics` coming until the returned function is called. */
  retain(topics: readonly Topic[]): () => void {
    for (const topic of topics) {
      this._wanted.set(topic, (this._wanted.get(topic) ?? 0) + 1);
    }
    this._holders++;
    this._update();
    let held = true;
    return () => {
      if (!held) {
        return;
      }
      held = false;
      for (const topic of topics) {
        const count = (this._wanted.get(topic) ?? 1) - 1;
        if (count > 0) {
          this._wanted.set(topic, count);
        } else {
          this._wanted.delete(topic);
        }
      }
      this._holders--;
      this._update();
    };
  }

  /** Which task was at `at` milliseconds in `lane`; the stream leaves out what only a pointer asks for. */
  async taskAt(lane: number, at: number, slack: number): Promise<ITaskDetail | null> {
    const us = (ms: number) => Math.max(0, Math.round(ms * 1000));
    const path = `api/tasks?lane=${lane}&at_us=${us(at)}&slack_us=${us(slack)}`;
    return (await this.endpoint.getJson(path)) as ITaskDetail | null;
  }

  dispose(): void {
    this._disposed = true;
    clearTimeout(this._retryTimer);
    clearTimeout(this._closeTimer);
    this._socket?.close();
    this._socket = null;
    this.model.changed.clear();
  }

  private _update(): void {
    if (this._disposed) {
      return;
    }
    clearTimeout(this._closeTimer);
    if (this._holders > 0) {
      this._open();
      this._subscribe();
    } else {
      this._closeTimer = setTimeout(() => {
        clearTimeout(this._retryTimer);
        this._socket?.close();
        this._socket = null;
        this.model.setConnection('idle');
      }, CLOSE_AFTER);
    }
  }

  private _open(): void {
    if (this._socket) {
      return;
    }
    clearTimeout(this._retryTimer);
    if (this.model.connection !== 'lost') {
      this.model.setConnection('connecting');
    }
    let socket: WebSocket;
    try {
      socket = new WebSocket(this.endpoint.webSocketUrl());
    } catch (error) {
      this._lost(error instanceof Error ? error.message : String(error));
      return;
    }
    socket.binaryType = 'arraybuffer';
    this._socket = socket;
    this._sent = '';
    this._topics = [];
    socket.onopen = () => this._subscribe();
    socket.onmessage = event => {
      if (socket !== this._socket || !(event.data instanceof ArrayBuffer)) {
        return;
      }
      this._retryIn = RETRY_FIRST;
      try {
        this.model.setConnection('live');
        this.model.receive(event.data);
      } catch (error) {
        this._retryIn = RETRY_LAST;
        socket.close();
        this._lost(error instanceof Error ? error.message : String(error));
      }
    };
    socket.onclose = event => {
      if (socket === this._socket) {
        this._lost(event.reason || 'the cluster does not answer');
      }
    };
  }

  private _lost(problem: string): void {
    this._socket = null;
    if (this._disposed) {
      return;
    }
    this.model.setConnection('lost', problem);
    clearTimeout(this._retryTimer);
    this._retryTimer = setTimeout(() => {
      if (this._holders > 0) {
        this._open();
      }
    }, this._retryIn);
    this._retryIn = Math.min(this._retryIn * 2, RETRY_LAST);
  }

  private _subscribe(): void {
    if (this._socket?.readyState !== WebSocket.OPEN) {
      return;
    }
    const topics = [...this._wanted.keys()].sort();
    const request = JSON.stringify({ subscribe: topics });
    if (request !== this._sent) {
      // A topic that is added comes with its past, of which we may still hold a part.
      topics.filter(topic => !this._topics.includes(topic)).forEach(topic => this.model.forget(topic));
      this._socket.send(request);
      this._sent = request;
      this._topics = topics;
    }
  }

  private _socket: WebSocket | null = null;
  private _wanted = new Map<Topic, number>();
  private _holders = 0;
  private _sent = '';
  private _topics: Topic[] = [];
  private _retryIn = RETRY_FIRST;
  private _retryTimer: ReturnType<typeof setTimeout> | undefined;
  private _closeTimer: ReturnType<typeof setTimeout> | undefined;
  private _disposed = false;
}
