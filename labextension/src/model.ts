/**
 * What is known about one cluster, fed by the stream: no DOM, no sockets. Times are milliseconds since
 * the cluster started. Everything kept is bounded: a view left open for a week costs what it did at first.
 */
import { SpanKind, VERSION, decode } from './protocol';
import type { ComputationState, ISink, ITotals, SpanKindCode, Topic, WorkerState } from './protocol';
import { Emitter } from './signal';

/** Spans kept for drawing; a power of two, so that a slot is a mask away. */
export const SPANS_MAX = 1 << 17;
export const TOTALS_MAX = 3600;
const FAILURES_MAX = 200;
const FINISHED_COMPUTATIONS_MAX = 200;
const RATE_WINDOW = 5000;

export interface IWorker {
  id: number;
  name: string;
  state: WorkerState;
  threads: number;
  firstLane: number;
  memoryLimit: number;
  cpu: number;
  threadsBusy: number;
  managed: number;
  spilled: number;
  rss: number;
}

export interface IStage {
  id: number;
  computation: number;
  name: string;
  blocks: number;
  started: number;
  done: number;
  failed: number;
  busy: number;
  last: number;
}

export interface IComputation {
  id: number;
  label: string;
  state: ComputationState;
  started: number;
  finished: number;
  stages: number[];
}

export interface IFailure {
  at: number;
  block: number;
  stage: number;
  worker: number;
  message: string;
}

export type ConnectionState = 'connecting' | 'live' | 'lost' | 'idle';

/** Recent spans as columns; `total` counts all that ever came, so a view can ask for what is new to it. */
export class SpanRing {
  readonly start = new Float64Array(SPANS_MAX);
  readonly duration = new Float32Array(SPANS_MAX);
  readonly lane = new Uint32Array(SPANS_MAX);
  readonly stage = new Uint32Array(SPANS_MAX);
  readonly kind = new Uint8Array(SPANS_MAX);
  total = 0;

  push(stage: number, lane: number, start: number, duration: number, kind: SpanKindCode): void {
    const slot = this.total++ & (SPANS_MAX - 1);
    this.start[slot] = start;
    this.duration[slot] = duration;
    this.lane[slot] = lane;
    this.stage[slot] = stage;
    this.kind[slot] = kind;
  }

  /** Number of the oldest span that is still here. */
  get first(): number {
    return Math.max(0, this.total - SPANS_MAX);
  }

  slot(index: number): number {
    return index & (SPANS_MAX - 1);
  }

  clear(): void {
    this.total = 0;
  }
}

export class ClusterModel implements ISink {
  /** Emitted after each message, not after each record. */
  readonly changed = new Emitter<ClusterModel>();
  readonly spans = new SpanRing();
  readonly workers = new Map<number, IWorker>();
  readonly computations = new Map<number, IComputation>();
  readonly stages = new Map<number, IStage>();
  failures: IFailure[] = [];
  series: ITotals[] = [];
  name = '';
  startedUnixMs = 0;
  now = 0;
  /** Spans the dashboard or this view could not keep up with. */
  spansDropped = 0;
  spansSkipped = 0;
  /** Goes up when everything was forgotten: what was drawn must be drawn again. */
  generation = 0;
  /** Goes up when workers come or go. */
  layoutVersion = 0;
  connection: ConnectionState = 'idle';
  /** Why the connection is lost, for people. */
  problem = '';

  receive(message: ArrayBuffer): void {
    decode(message, this);
    this.changed.emit(this);
  }

  setConnection(state: ConnectionState, problem = ''): void {
    if (state !== this.connection || problem !== this.problem) {
      this.connection = state;
      this.problem = problem;
      this.changed.emit(this);
    }
  }

  /** The cluster's present, also between two messages, so that a time axis moves evenly. */
  present(clock = performance.now()): number {
    const ahead = this.connection === 'live' ? Math.min(clock - this._clockAt, 2000) : 0;
    return this.now + Math.max(0, ahead);
  }

  /** Position of a name among all seen, for colours: the same for as long as the view is open. */
  colourIndex(name: string): number {
    let index = this._colours.get(name);
    if (index === undefined) {
      index = this._colours.size;
      this._colours.set(name, index);
    }
    return index;
  }

  workerOfLane(lane: number): IWorker | undefined {
    for (const worker of this.workers.values()) {
      if (lane >= worker.firstLane && lane < worker.firstLane + worker.threads) {
        return worker;
      }
    }
    return undefined;
  }

  get workersHere(): IWorker[] {
    return [...this.workers.values()].filter(worker => worker.state === 'here');
  }

  get latest(): ITotals | undefined {
    return this.series[this.series.length - 1];
  }

  /** Blocks per second over the last seconds. */
  get tasksPerSecond(): number {
    const latest = this.latest;
    if (!latest) {
      return 0;
    }
    let i = this.series.length - 1;
    while (i > 0 && latest.at - this.series[i - 1].at <= RATE_WINDOW) {
      i--;
    }
    const first = this.series[i];
    return latest.at > first.at ? ((latest.tasks - first.tasks) / (latest.at - first.at)) * 1000 : 0;
  }

  /** Drops what a topic has brought; its past is about to come again. */
  forget(topic: Topic): void {
    if (topic === 'tasks') {
      this.spans.clear();
      this.generation++;
    } else if (topic === 'failures') {
      this.failures = [];
    }
  }

  // What follows is called by the decoder.

  hello(version: number, startedUnixMs: number, now: number, name: string): void {
    if (version !== VERSION) {
      throw new Error(
        `the cluster's dashboard speaks version ${version}, this page version ${VERSION}: reload it, or update the older one`
      );
    }
    this.startedUnixMs = startedUnixMs;
    this.name = name;
    this.clock(now, 0);
  }

  reset(spansSkipped: number): void {
    this.spansSkipped += spansSkipped;
    this.spans.clear();
    this.workers.clear();
    this.computations.clear();
    this.stages.clear();
    this.failures = [];
    this.series = [];
    this.generation++;
    this.layoutVersion++;
  }

  clock(now: number, spansDropped: number): void {
    this.now = now;
    this.spansDropped = spansDropped;
    this._clockAt = performance.now();
  }

  worker(w: Omit<IWorker, 'cpu' | 'threadsBusy' | 'managed' | 'spilled' | 'rss'>): void {
    const known = this.workers.get(w.id);
    this.workers.set(w.id, { cpu: 0, threadsBusy: 0, managed: 0, spilled: 0, rss: 0, ...known, ...w });
    this.layoutVersion++;
  }

  computation(c: Omit<IComputation, 'stages'>): void {
    const stages = this.computations.get(c.id)?.stages ?? [];
    this.computations.set(c.id, { ...c, stages });
    if (c.state !== 'running') {
      this._forgetFinished();
    }
  }

  stage(s: Omit<IStage, 'done' | 'failed' | 'busy' | 'last'>): void {
    this.colourIndex(s.name);
    this.stages.set(s.id, { done: 0, failed: 0, busy: 0, last: 0, ...this.stages.get(s.id), ...s });
    const stages = this.computations.get(s.computation)?.stages;
    if (stages && !stages.includes(s.id)) {
      stages.push(s.id);
    }
  }

  progress(id: number, done: number, failed: number, busy: number, last: number): void {
    const stage = this.stages.get(id);
    if (stage) {
      Object.assign(stage, { done, failed, busy, last });
    }
  }

  sample(id: number, cpu: number, threadsBusy: number, managed: number, spilled: number, rss: number): void {
    const worker = this.workers.get(id);
    if (worker) {
      Object.assign(worker, { cpu, threadsBusy, managed, spilled, rss });
    }
  }

  totals(t: ITotals): void {
    // Subscribing again brings the past again.
    if (this.latest && t.at <= this.latest.at) {
      return;
    }
    this.series.push(t);
    if (this.series.length > TOTALS_MAX) {
      this.series.splice(0, this.series.length - TOTALS_MAX);
    }
  }

  task(stage: number, lane: number, start: number, duration: number, kind: SpanKindCode): void {
    this.spans.push(stage, lane, start, duration, kind);
  }

  failure(f: IFailure): void {
    this.failures.push(f);
    if (this.failures.length > FAILURES_MAX) {
      this.failures.shift();
    }
  }

  private _forgetFinished(): void {
    const finished = [...this.computations.values()].filter(c => c.state !== 'running');
    for (const old of finished.slice(0, Math.max(0, finished.length - FINISHED_COMPUTATIONS_MAX))) {
      this.computations.delete(old.id);
      old.stages.forEach(stage => this.stages.delete(stage));
    }
  }

  private _clockAt = 0;
  private _colours = new Map<string, number>();
}

/** Milliseconds a stage still needs at its present pace, if that can be said. */
export function timeLeft(stage: IStage, now: number): number | undefined {
  const elapsed = now - stage.started;
  if (stage.done < 2 || stage.done >= stage.blocks || elapsed < 500) {
    return undefined;
  }
  return (elapsed / stage.done) * (stage.blocks - stage.done);
}

export const spanKindNames = ['compute', 'transfer', 'spill', 'failed'] as const;
export { SpanKind };
