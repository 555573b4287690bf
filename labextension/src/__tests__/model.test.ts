/** The model: bounds, starting over, pace. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ClusterModel, SPANS_MAX, TOTALS_MAX, timeLeft } from '../model';
import type { IStage } from '../model';

function withStage(): ClusterModel {
  const model = new ClusterModel();
  model.worker({ id: 1, firstLane: 4, threads: 2, state: 'here', memoryLimit: 10, name: 'node1' });
  model.computation({ id: 1, state: 'running', started: 0, finished: 0, label: 'In [1]' });
  model.stage({ id: 5, computation: 1, blocks: 100, started: 1000, name: 'mean' });
  return model;
}

function totals(model: ClusterModel, at: number, tasks: number): void {
  model.totals({ at, managed: 0, spilled: 0, rss: 0, limit: 0, tasks, cpu: 0, threadsBusy: 0 });
}

test('the ring keeps the newest spans and says which are gone', () => {
  const model = withStage();
  for (let i = 0; i < SPANS_MAX + 10; i++) {
    model.task(5, 4, i, 1, 0);
  }
  assert.equal(model.spans.first, 10);
  assert.equal(model.spans.start[model.spans.slot(10)], 10);
  assert.equal(model.spans.start[model.spans.slot(model.spans.total - 1)], SPANS_MAX + 9);
});

test('a reset forgets everything but the colours', () => {
  const model = withStage();
  model.task(5, 4, 1, 1, 0);
  const colour = model.colourIndex('mean');
  const generation = model.generation;
  model.reset(12);
  assert.equal(model.stages.size + model.workers.size + model.computations.size + model.spans.total, 0);
  assert.equal(model.spansSkipped, 12);
  assert.ok(model.generation > generation);
  model.colourIndex('another');
  assert.equal(model.colourIndex('mean'), colour);
});

test('an entry that comes again keeps what was counted', () => {
  const model = withStage();
  model.progress(5, 7, 1, 30, 2000);
  model.sample(1, 1.5, 2, 3, 4, 5);
  model.stage({ id: 5, computation: 1, blocks: 100, started: 1000, name: 'mean' });
  model.worker({ id: 1, firstLane: 4, threads: 2, state: 'lost', memoryLimit: 10, name: 'node1' });
  assert.equal(model.stages.get(5)?.done, 7);
  assert.deepEqual(model.computations.get(1)?.stages, [5]);
  assert.equal(model.workers.get(1)?.rss, 5);
  assert.equal(model.workersHere.length, 0);
});

test('totals that come again are not counted twice, and stay bounded', () => {
  const model = withStage();
  for (let i = 0; i < TOTALS_MAX + 50; i++) {
    totals(model, i * 1000, i);
    totals(model, i * 1000, i);
  }
  assert.equal(model.series.length, TOTALS_MAX);
});

test('pace is taken over the last seconds', () => {
  const model = withStage();
  assert.equal(model.tasksPerSecond, 0);
  [0, 0, 0, 0, 0, 0, 100, 200, 300, 400, 500].forEach((tasks, second) => totals(model, second * 1000, tasks));
  assert.equal(model.tasksPerSecond, 100);
});

test('time left is said once there is a pace to go by', () => {
  const stage = { blocks: 100, started: 1000, done: 0 } as IStage;
  assert.equal(timeLeft(stage, 5000), undefined);
  assert.equal(timeLeft({ ...stage, done: 25 }, 6000), 15000);
  assert.equal(timeLeft({ ...stage, done: 100 }, 6000), undefined);
});

test('finished computations are forgotten with their stages, running ones never', () => {
  const model = withStage();
  for (let id = 10; id < 500; id++) {
    model.computation({ id, state: 'running', started: 0, finished: 0, label: '' });
    model.stage({ id: id * 2, computation: id, blocks: 1, started: 0, name: 'x' });
    model.computation({ id, state: 'succeeded', started: 0, finished: 1, label: '' });
  }
  assert.equal(model.computations.size, 201);
  assert.equal(model.stages.size, 201);
  assert.ok(model.computations.has(1));
});

test('lanes lead to workers', () => {
  const model = withStage();
  assert.equal(model.workerOfLane(5)?.name, 'node1');
  assert.equal(model.workerOfLane(6), undefined);
});
