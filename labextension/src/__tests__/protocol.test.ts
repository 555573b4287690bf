/** The decoder against bytes that the Rust side wrote (`protocol.rs`, `one_of_each`). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { ProtocolError, decode } from '../protocol';
import type { ISink } from '../protocol';

const fixture = readFileSync('../kernel/crates/dashboard/tests/fixtures/records.bin');
const bytes = fixture.buffer.slice(fixture.byteOffset, fixture.byteOffset + fixture.byteLength) as ArrayBuffer;

function recorder(): { calls: [string, ...unknown[]][]; sink: ISink } {
  const calls: [string, ...unknown[]][] = [];
  const sink = new Proxy({} as ISink, {
    get:
      (_, name) =>
      (...values: unknown[]) =>
        calls.push([String(name), ...values])
  });
  return { calls, sink };
}

test('every record of the Rust fixture is read as it was written', () => {
  const { calls, sink } = recorder();
  decode(bytes, sink);
  assert.deepEqual(calls, [
    ['hello', 1, 1_790_000_000_123, 5_000_000, 'local-1 µ'],
    ['reset', 3],
    ['clock', 5_000_100, 17],
    ['worker', { id: 4, firstLane: 28, threads: 14, state: 'lost', memoryLimit: 115e9, name: 'r1i0n3' }],
    ['computation', { id: 2, state: 'failed', started: 0.001, finished: 9_007_199_254_740.991, label: 'In [7]' }],
    ['stage', { id: 11, computation: 2, blocks: 1_000_000, started: 0.077, name: 'mean(time)' }],
    ['progress', 11, 10, 1, 12.345, 0.099],
    ['progress', 12, 0, 0, 0, 0],
    ['sample', 4, 13.95, 14, 5 * 2 ** 33, 6, 7 * 2 ** 34],
    ['totals', { at: 0.008, managed: 9, spilled: 10, rss: 11, limit: 12, tasks: 13, cpu: 0.014, threadsBusy: 15 }],
    ['task', 11, 29, 5_000_000, 0.001, 0],
    ['task', 11, 28, 5_000_000.4, 250, 1],
    ['task', 11, 31, 5_000_000.8, 1_800_000, 2],
    ['task', 11, 30, 5_000_000.9, 0, 3],
    ['failure', { at: 0.001, block: 2 ** 40, stage: 11, worker: 4, message: 'panicked: overflow' }]
  ]);
});

test('a kind of record that is not known is skipped', () => {
  const { calls, sink } = recorder();
  const unknown = new Uint8Array([200, 0, 0, 0, 2, 0, 0, 0, 9, 9, 2, 0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
  decode(unknown.buffer, sink);
  assert.deepEqual(calls, [['reset', 7]]);
});

test('a message that ends too early is an error, not a wrong number', () => {
  const { sink } = recorder();
  for (const length of [3, 12]) {
    assert.throws(() => decode(bytes.slice(0, length), sink), ProtocolError);
  }
});
