/**
 * Reads the binary stream of a cluster's dashboard. The layouts are documented once, in
 * `kernel/crates/dashboard/src/protocol.rs`; the tests decode bytes written there.
 */

export const VERSION = 1;

export type Topic = 'tasks' | 'progress' | 'workers' | 'totals' | 'failures';

export const SpanKind = { compute: 0, transfer: 1, spill: 2, failed: 3 } as const;
export type SpanKindCode = 0 | 1 | 2 | 3;

export type WorkerState = 'here' | 'left' | 'lost';
export type ComputationState = 'running' | 'succeeded' | 'failed' | 'cancelled';

const WORKER_STATES: readonly WorkerState[] = ['here', 'left', 'lost'];
const COMPUTATION_STATES: readonly ComputationState[] = ['running', 'succeeded', 'failed', 'cancelled'];

/** What a message is read into. Times are milliseconds since the cluster started. */
export interface ISink {
  hello(version: number, startedUnixMs: number, now: number, name: string): void;
  reset(spansSkipped: number): void;
  clock(now: number, spansDropped: number): void;
  worker(w: { id: number; firstLane: number; threads: number; state: WorkerState; memoryLimit: number; name: string }): void;
  computation(c: { id: number; state: ComputationState; started: number; finished: number; label: string }): void;
  stage(s: { id: number; computation: number; blocks: number; started: number; name: string }): void;
  progress(stage: number, done: number, failed: number, busy: number, last: number): void;
  sample(worker: number, cpu: number, threadsBusy: number, managed: number, spilled: number, rss: number): void;
  totals(t: ITotals): void;
  /** Called once per task, so it takes no object. */
  task(stage: number, lane: number, start: number, duration: number, kind: SpanKindCode): void;
  failure(f: { at: number; block: number; stage: number; worker: number; message: string }): void;
}

export interface ITotals {
  at: number;
  managed: number;
  spilled: number;
  rss: number;
  limit: number;
  tasks: number;
  /** Cores in use. */
  cpu: number;
  threadsBusy: number;
}

const HEADER_BYTES = 8;
const UNIT_MS = 1 << 29;
const DURATION_MASK = UNIT_MS - 1;
const text = new TextDecoder();

export class ProtocolError extends Error {}

/** Reads every record of one WebSocket message; kinds it does not know are skipped. */
export function decode(message: ArrayBuffer, sink: ISink): void {
  const view = new DataView(message);
  let at = 0;
  while (at < message.byteLength) {
    if (at + HEADER_BYTES > message.byteLength) {
      throw new ProtocolError(`a record header needs ${HEADER_BYTES} bytes, ${message.byteLength - at} are left`);
    }
    const kind = view.getUint8(at);
    const length = view.getUint32(at + 4, true);
    const start = at + HEADER_BYTES;
    const end = start + length;
    if (end > message.byteLength) {
      throw new ProtocolError(`record of kind ${kind} says ${length} bytes, ${message.byteLength - start} are left`);
    }
    record(view, kind, start, end, sink);
    at = end;
  }
}

function record(v: DataView, kind: number, p: number, end: number, sink: ISink): void {
  switch (kind) {
    case 1:
      sink.hello(v.getUint16(p, true), u64(v, p + 8), u64(v, p + 16) / 1000, string(v, p + 24));
      return;
    case 2:
      sink.reset(u64(v, p));
      return;
    case 3:
      sink.clock(u64(v, p) / 1000, u64(v, p + 8));
      return;
    case 4:
      sink.worker({
        id: v.getUint32(p, true),
        firstLane: v.getUint32(p + 4, true),
        threads: v.getUint16(p + 8, true),
        state: WORKER_STATES[v.getUint8(p + 10)] ?? 'lost',
        memoryLimit: u64(v, p + 16),
        name: string(v, p + 24)
      });
      return;
    case 5:
      sink.computation({
        id: v.getUint32(p, true),
        state: COMPUTATION_STATES[v.getUint8(p + 4)] ?? 'failed',
        started: u64(v, p + 8) / 1000,
        finished: u64(v, p + 16) / 1000,
        label: string(v, p + 24)
      });
      return;
    case 6:
      sink.stage({
        id: v.getUint32(p, true),
        computation: v.getUint32(p + 4, true),
        blocks: u64(v, p + 8),
        started: u64(v, p + 16) / 1000,
        name: string(v, p + 24)
      });
      return;
    case 7:
      for (; p + 40 <= end; p += 40) {
        sink.progress(
          v.getUint32(p, true),
          u64(v, p + 8),
          u64(v, p + 16),
          u64(v, p + 24) / 1000,
          u64(v, p + 32) / 1000
        );
      }
      return;
    case 8:
      for (; p + 40 <= end; p += 40) {
        sink.sample(
          v.getUint32(p, true),
          v.getUint32(p + 4, true) / 1000,
          v.getUint16(p + 8, true),
          u64(v, p + 16),
          u64(v, p + 24),
          u64(v, p + 32)
        );
      }
      return;
    case 9:
      for (; p + 56 <= end; p += 56) {
        sink.totals({
          at: u64(v, p) / 1000,
          managed: u64(v, p + 8),
          spilled: u64(v, p + 16),
          rss: u64(v, p + 24),
          limit: u64(v, p + 32),
          tasks: u64(v, p + 40),
          cpu: v.getUint32(p + 48, true) / 1000,
          threadsBusy: v.getUint32(p + 52, true)
        });
      }
      return;
    case 10: {
      const stage = v.getUint32(p, true);
      const base = u64(v, p + 8) / 1000;
      for (p += 16; p + 12 <= end; p += 12) {
        const packed = v.getUint32(p + 4, true);
        const duration = packed & DURATION_MASK;
        sink.task(
          stage,
          v.getUint32(p + 8, true),
          base + v.getUint32(p, true) / 1000,
          packed & UNIT_MS ? duration : duration / 1000,
          (packed >>> 30) as SpanKindCode
        );
      }
      return;
    }
    case 11:
      sink.failure({
        at: u64(v, p) / 1000,
        block: u64(v, p + 8),
        stage: v.getUint32(p + 16, true),
        worker: v.getUint32(p + 20, true),
        message: string(v, p + 24)
      });
      return;
    default:
      return;
  }
}

/** Exact up to 2^53, which in microseconds is 285 years and in bytes 9 PB. */
function u64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 4294967296;
}

function string(view: DataView, at: number): string {
  const length = view.getUint16(at, true);
  return text.decode(new Uint8Array(view.buffer, view.byteOffset + at + 2, length));
}
