import assert from 'node:assert/strict';
import test from 'node:test';

import { gaps, niceMax, runs, spanOf } from './charts.js';
import { History } from './rates.js';

const gateway = (instance, deliveries, closed = {}) => ({
  instance, totals: { deliveries, delivered_bytes: deliveries * 10, closed }, cpu_seconds: 0,
});
const publisher = (instance, ok, bad) => ({
  instance, totals: { pushes: [{ kind: 'push', result: '200', count: ok }, { kind: 'push', result: 429, count: bad }] }, cpu_seconds: 0,
});

test('rates of a process are the differences of its counters by time', () => {
  const history = new History();
  history.add({ gateways: [gateway('a', 100)], publishers: [publisher('p', 5, 1)] }, {}, 10);
  assert.deepEqual(history.ratesOf('a'), [null, null, null]);
  history.add({ gateways: [gateway('a', 150)], publishers: [publisher('p', 9, 1)] }, {}, 12);
  assert.deepEqual([history.ratesOf('a'), history.ratesOf('p')], [[25, 250, 0], [2, 0, 0]]);
});

test('a caller that has gone before its answer was not refused', () => {
  const history = new History();
  const of = (gone, refused) => ({ instance: 'p', totals: { pushes: [{ result: 'none', count: gone }, { result: 403, count: refused }] } });
  history.add({ publishers: [of(0, 0)] }, {}, 0);
  history.add({ publishers: [of(8, 2)] }, {}, 1);
  assert.deepEqual(history.ratesOf('p').slice(0, 2), [0, 2]);
});

test('a process that was silent for a while is counted over that while', () => {
  const history = new History();
  history.add({ gateways: [gateway('a', 0)] }, {}, 0);
  history.add({ gateways: [] }, {}, 1);
  history.missed(2);
  history.add({ gateways: [gateway('a', 30)] }, {}, 3);
  assert.equal(history.ratesOf('a')[0], 10);
});

test('what ended within the last minute is counted, and forgotten', () => {
  const history = new History();
  history.add({ gateways: [gateway('a', 0, { 4001: 7 })] }, {}, 0);
  history.add({ gateways: [gateway('a', 0, { 4001: 9, 1000: 1 })] }, {}, 1);
  assert.deepEqual([history.lastMinute('closed 4001'), history.lastMinute('closed 1000')], [2, 1]);
  history.add({ gateways: [gateway('a', 0, { 4001: 9, 1000: 1 })] }, {}, 62);
  assert.equal(history.lastMinute('closed 4001'), 0);
});

test('fifteen minutes are kept', () => {
  const history = new History();
  for (let second = 0; second < 2_000; second += 1) history.add({}, { connections: second }, second);
  assert.equal(history.samples.length, 901);
  assert.deepEqual(history.samples.at(-1), { connections: 1_999, at: 1_999 });
});

test('what the server has kept comes where this page knows nothing', () => {
  const history = new History();
  const kept = (...ages) => ages.map((age) => ({ age, connections: age }));
  history.recall(kept(12, 6, 1), 100);
  for (let at = 101; at < 105; at += 1) history.add({}, { connections: 7 }, at);
  // The page lost the server for a while, and the server did not lose the cluster.
  history.recall(kept(28, 22, 16, 10, 5), 120);
  assert.deepEqual(history.samples.map(({ at }) => at), [88, 94, 99, 101, 102, 103, 104, 110, 115]);
  assert.equal(history.samples[0].age, undefined);
});

test('answers with nothing but names are taken as well', () => {
  const history = new History();
  for (const at of [0, 1]) {
    history.add({ broker: null, gateways: [{ instance: 'a', asked: false }], publishers: [{ instance: 'p' }], silent: [] }, undefined, at);
  }
  assert.deepEqual(history.ratesOf('a'), [0, 0, 0]);
  history.add({}, {}, 2);
  assert.equal(history.samples.length, 3);
});

test('times of which nothing is known are gaps', () => {
  const samples = [{ at: 0, connections: 1 }, { at: 10, connections: 1 }, { at: 50, connections: 0 }, { at: 60 }, { at: 80, connections: 2 }];
  assert.deepEqual(gaps(samples, 85, 100).map((ends) => ends.map((x) => Math.round(x / 3))), [[25, 65], [65, 95]]);
  assert.deepEqual(gaps(samples, 100, 30), [[0, 100], [100, 300]]);
  assert.deepEqual(gaps([], 100, 60), []);
});

test('a line has a gap where nothing is known, and at most one point per pixel', () => {
  const samples = Array.from({ length: 900 }, (_, at) => ({ at, value: at === 450 ? null : at }));
  const all = runs(samples, 'value', 900, 900);
  assert.equal(all.length, 2);
  assert.ok(all.flat().length <= 302);
  assert.equal(all[1].at(-1).value, 899);
});

test('charts show more time, the longer ago the first sample is', () => {
  assert.deepEqual([0, 59, 61, 200, 900, 5_000].map((now) => spanOf([{ at: 0 }], now)), [60, 60, 120, 300, 900, 900]);
  assert.equal(spanOf([], 7), 60);
});

test('the top of a chart is a round number', () => {
  assert.deepEqual([0, 0.5, 1, 1.1, 99, 5_407, 8_200].map((value) => niceMax(value)), [1, 0.5, 1, 1.5, 100, 6_000, 10_000]);
  assert.equal(niceMax(1_500, true), 1_536);
});
