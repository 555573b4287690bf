/** The arithmetic of the views, which decides what is drawn where. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ClusterModel } from '../model';
import type { IWorker } from '../model';
import { bytes, clock, count, duration, niceCeil, timeStep } from '../views/format';
import { bytesTop, levels, visible } from '../views/memory/layout';
import { listed, share } from '../views/progress/layout';
import { LaneLayout, TimeWindow, spanBox } from '../views/taskstream/layout';
import { dueWarning, timeLeft } from '../views/walltime';
import { memoryShares, sorted } from '../views/workers/layout';

function worker(id: number, firstLane: number, threads: number, more: Partial<IWorker> = {}): IWorker {
  const zero = { cpu: 0, threadsBusy: 0, managed: 0, spilled: 0, rss: 0 };
  return { id, name: `n${id}`, state: 'here', threads, firstLane, memoryLimit: 100, ...zero, ...more };
}

test('lanes get rows from top to bottom, workers apart', () => {
  const layout = new LaneLayout([worker(1, 0, 2), worker(2, 10, 3)], 200);
  const tops = [0, 1, 10, 11, 12].map(lane => layout.row(lane)!.top);
  assert.deepEqual(tops, [...tops].sort((a, b) => a - b));
  assert.equal(new Set(tops).size, 5);
  assert.ok(tops[2] - tops[1] > tops[1] - tops[0], 'a gap between workers');
  assert.equal(layout.row(5), undefined);
  assert.ok(layout.height <= 200);
});

test('more lanes than pixels still all have a row inside', () => {
  const workers = Array.from({ length: 1000 }, (_, i) => worker(i, i * 28, 28));
  const layout = new LaneLayout(workers, 400);
  for (const lane of [0, 14_000, 27_999]) {
    const row = layout.row(lane)!;
    assert.ok(row.top >= 0 && row.top + row.height <= 401 && row.height >= 1, JSON.stringify(row));
  }
});

test('the lane under a pointer is the one drawn there', () => {
  const layout = new LaneLayout([worker(1, 0, 4), worker(2, 4, 4)], 160);
  for (const lane of [0, 3, 4, 7]) {
    const row = layout.row(lane)!;
    assert.equal(layout.laneAt(row.top + row.height / 2), lane);
  }
  assert.equal(layout.laneAt(5000), undefined);
});

test('following the present moves by whole pixels and adds up', () => {
  const window = new TimeWindow(800, 37.5);
  window.follow(100_000);
  const first = window.leftPixel;
  let moved = 0;
  for (let time = 100_000; time <= 160_000; time += 333) {
    const shift = window.follow(time);
    assert.ok(Number.isInteger(shift) && shift >= 0);
    moved += shift;
  }
  assert.equal(window.leftPixel - first, moved);
  assert.ok(window.right >= 160_000 - 333 && window.right < 160_000 + 2 * 37.5);
});

test('zooming leaves the time under the pointer where it is', () => {
  const window = new TimeWindow(1000, 10);
  window.follow(60_000);
  const before = window.time(300);
  window.zoom(0.5, 300);
  assert.ok(Math.abs(window.time(300) - before) <= window.msPerPixel);
  for (let i = 0; i < 200; i++) {
    window.zoom(0.5, 300);
  }
  assert.ok(window.msPerPixel > 0);
});

test('a box is cut at the edges, never thinner than a pixel, and absent when out of sight', () => {
  const window = new TimeWindow(100, 10);
  window.leftPixel = 50;
  assert.deepEqual(spanBox(window, 0, 700), { x: 0, width: 20 });
  assert.deepEqual(spanBox(window, 600, 0.1), { x: 10, width: 1 });
  assert.deepEqual(spanBox(window, 1400, 9000), { x: 90, width: 10 });
  assert.equal(spanBox(window, 0, 400), undefined);
  assert.equal(spanBox(window, 1500, 10), undefined);
});

test('running computations are listed first, then the newest', () => {
  const model = new ClusterModel();
  for (const [id, state] of [[1, 'running'], [2, 'succeeded'], [3, 'failed']] as const) {
    model.computation({ id, state, started: 0, finished: 0, label: '' });
    model.stage({ id: id * 10, computation: id, blocks: 8, started: 0, name: 's' });
    model.progress(id * 10, 4, 0, 0, 0);
  }
  const list = listed(model);
  assert.deepEqual(list.map(item => item.computation.id), [1, 3, 2]);
  assert.equal(share(list[0].done, list[0].blocks), 0.5);
  assert.equal(share(9, 8), 1);
  assert.equal(share(0, 0), 0);
});

test('workers that went come last, names in counting order', () => {
  const workers = [worker(10, 0, 1), worker(9, 0, 1, { state: 'lost', cpu: 9 }), worker(2, 0, 1, { cpu: 3 })];
  assert.deepEqual(sorted(workers, 'name', false).map(w => w.id), [2, 10, 9]);
  assert.deepEqual(sorted(workers, 'cpu', true).map(w => w.id), [2, 10, 9]);
  assert.deepEqual(sorted(workers, 'cpu', false).map(w => w.id), [10, 2, 9]);
});

test('a memory bar never says more than the limit, and says when it is passed', () => {
  assert.deepEqual(memoryShares({ managed: 25, rss: 50, memoryLimit: 100 }), { managed: 0.25, unmanaged: 0.25, over: false });
  assert.deepEqual(memoryShares({ managed: 150, rss: 50, memoryLimit: 100 }), { managed: 1, unmanaged: 0, over: true });
});

test('a long series is thinned to its peaks', () => {
  const series = Array.from({ length: 3600 }, (_, i) => ({
    at: i * 1000, managed: i === 1801 ? 500 : 1, rss: 0, spilled: 0, limit: 0, tasks: 0, cpu: 0, threadsBusy: 0
  }));
  const shown = visible(series, 0, 3_600_000, 100);
  assert.ok(shown.length <= 102, String(shown.length));
  assert.ok(shown.some(point => point.managed === 500));
});

test('the limit is in the picture only when memory comes near it', () => {
  const point = (managed: number) => [{ at: 0, managed, rss: 0, spilled: 0, limit: 100e9, tasks: 0, cpu: 0, threadsBusy: 0 }];
  assert.ok(bytesTop(point(60e9)) >= 100e9);
  assert.ok(bytesTop(point(1e9)) <= 2e9);
});

test('axes are marked at round values', () => {
  assert.deepEqual(levels(519, 4), [0, 200, 400]);
  assert.deepEqual(levels(28, 2), [0, 20]);
  assert.deepEqual(levels(1, 4), [0, 0.25, 0.5, 0.75, 1]);
});

test('numbers read as people write them', () => {
  assert.deepEqual([0, 999, 1000, 1_500_000, 115e9].map(bytes), ['0 B', '999 B', '1 kB', '1.5 MB', '115 GB']);
  assert.deepEqual([0.05, 5, 1500, 61_000, 7_300_000].map(duration), ['50 µs', '5 ms', '1.5 s', '1 min 1 s', '2 h 1 min']);
  assert.equal(count(1234567), '1\u202f234\u202f567');
  assert.equal(clock(new Date(2026, 0, 2, 3, 4, 5, 678).getTime(), 1000), '03:04:05');
  assert.equal(clock(new Date(2026, 0, 2, 3, 4, 5, 678).getTime(), 100), '03:04:05.6');
  assert.equal(timeStep(37.5, 90), 5000);
  assert.deepEqual([0, 1.5, 3, 7, 12].map(niceCeil), [1, 2, 5, 10, 20]);
});

test('the end of the walltime is announced at each step, and once after a sleep', () => {
  const minutes = (n: number) => n * 60_000;
  let given = 0;
  const told: number[] = [];
  for (let left = minutes(45); left > -1000; left -= 1000) {
    const warning = dueWarning(left, given);
    if (warning !== null) {
      given = warning;
      told.push(left);
    }
  }
  assert.deepEqual(told, [minutes(30), minutes(10), minutes(2)]);
  assert.equal(dueWarning(minutes(1), minutes(30)), minutes(2), 'a tab that slept gets the closest one');
  assert.equal(dueWarning(minutes(9), minutes(10)), null);
  assert.equal(dueWarning(-1, 0), null);
  assert.deepEqual([minutes(70), minutes(12), 40_000, -5].map(timeLeft), ['1 h 10 min', '12 min', '40 s', '0 s']);
});
