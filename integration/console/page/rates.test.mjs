import assert from 'node:assert/strict';
import test from 'node:test';

import { niceMax, runs, spanOf } from './charts.js';
import { History, percentile, sum } from './rates.js';

const histogram = (...counts) => ({ buckets: counts.map((upTo, at) => [[0.001, 0.01, 0.1][at], upTo]), count: counts.at(-1) });
const gateway = (instance, deliveries, closed = {}, delivery_seconds = histogram(0, 0, 0)) => ({
  instance, connections: { plain: 1, v1: 2 }, totals: { deliveries, delivered_bytes: deliveries * 10, closed }, delivery_seconds,
});
const publisher = (instance, ok, bad) => ({
  instance, totals: { pushes: [{ kind: 'push', result: '200', count: ok }, { kind: 'push', result: 429, count: bad }] },
});
const newest = (history) => history.samples.at(-1);

test('rates are the differences of counters by time', () => {
  const history = new History();
  history.add({ gateways: [gateway('a', 100)], publishers: [publisher('p', 5, 1)] }, 10);
  assert.equal(newest(history).deliveries, null);
  history.add({ gateways: [gateway('a', 150)], publishers: [publisher('p', 9, 1)] }, 12);
  const { deliveries, delivered_bytes, accepted, refused, connections } = newest(history);
  assert.deepEqual([deliveries, delivered_bytes, accepted, refused, connections], [25, 250, 2, 0, 3]);
});

test('a caller that has gone before its answer was not refused', () => {
  const history = new History();
  const of = (gone, refused) => ({ instance: 'p', totals: { pushes: [{ result: 'none', count: gone }, { result: 403, count: refused }] } });
  history.add({ publishers: [of(0, 0)] }, 0);
  history.add({ publishers: [of(8, 2)] }, 1);
  assert.deepEqual([newest(history).accepted, newest(history).refused], [0, 2]);
});

test('a process that starts again, or is new, makes no peak', () => {
  const history = new History();
  history.add({ gateways: [gateway('a', 1_000_000)] }, 0);
  history.add({ gateways: [gateway('a', 3), gateway('b', 500_000)] }, 1);
  assert.equal(newest(history).deliveries, 0);
  history.add({ gateways: [gateway('a', 5), gateway('b', 500_004)] }, 2);
  assert.equal(newest(history).deliveries, 6);
});

test('a process that was silent for a while is counted over that while', () => {
  const history = new History();
  history.add({ gateways: [gateway('a', 0)] }, 0);
  history.add({ gateways: [] }, 1);
  history.missed(2);
  history.add({ gateways: [gateway('a', 30)] }, 3);
  assert.equal(newest(history).deliveries, 10);
});

test('what ended within the last minute is counted, and forgotten', () => {
  const history = new History();
  history.add({ gateways: [gateway('a', 0, { 4001: 7 })] }, 0);
  history.add({ gateways: [gateway('a', 0, { 4001: 9, 1000: 1 })] }, 1);
  assert.deepEqual([history.lastMinute('closed 4001'), history.lastMinute('closed 1000')], [2, 1]);
  history.add({ gateways: [gateway('a', 0, { 4001: 9, 1000: 1 })] }, 62);
  assert.equal(history.lastMinute('closed 4001'), 0);
});

test('percentiles are those of the last seconds, over all processes', () => {
  const history = new History();
  history.add({ gateways: [gateway('a', 0, {}, histogram(900, 900, 900))] }, 0);
  history.add({ gateways: [gateway('a', 0, {}, histogram(900, 950, 1_000))] }, 1);
  assert.ok(newest(history).delivery_p50 < 0.0101 && newest(history).delivery_p99 > 0.09);
  history.add({ gateways: [gateway('a', 0, {}, histogram(900, 950, 1_000))] }, 20);
  assert.equal(newest(history).delivery_p50, null);
  assert.equal(percentile(histogram(0, 0, 0), 0.5), null);
  assert.equal(percentile({ buckets: [[1, 10]], count: 20 }, 0.99), 1, 'beyond the last bound');
  assert.deepEqual(sum([histogram(1, 2, 3), histogram(1, 1, 1)]), { ...histogram(2, 3, 4), count: 4 });
});

test('fifteen minutes are kept', () => {
  const history = new History();
  for (let second = 0; second < 2_000; second += 1) history.add({ gateways: [gateway('a', second)] }, second);
  assert.equal(history.samples.length, 901);
});

test('answers with nothing but names are shown as well', () => {
  const history = new History();
  for (const at of [0, 1]) {
    history.add({ broker: null, gateways: [{ instance: 'a', asked: false }], publishers: [{ instance: 'p' }], silent: [] }, at);
  }
  assert.deepEqual([newest(history).deliveries, newest(history).connections], [0, 0]);
  history.add({}, 2);
  assert.equal(newest(history).connections, 0);
});

test('a line has a gap where nothing is known, and at most one point per pixel', () => {
  const samples = Array.from({ length: 900 }, (_, at) => ({ at, value: at === 450 ? null : at }));
  const all = runs(samples, 'value', 900, 900);
  assert.equal(all.length, 2);
  assert.ok(all.flat().length <= 302);
  assert.equal(all[1].at(-1).value, 899);
});

test('charts show more time, the longer the page is open', () => {
  assert.deepEqual([0, 59, 61, 200, 900, 5_000].map((now) => spanOf([{ at: 0 }], now)), [60, 60, 120, 300, 900, 900]);
  assert.equal(spanOf([], 7), 60);
});

test('the top of a chart is a round number', () => {
  assert.deepEqual([0, 0.5, 1, 1.1, 99, 5_407, 8_200].map((value) => niceMax(value)), [1, 0.5, 1, 1.5, 100, 6_000, 10_000]);
  assert.equal(niceMax(1_500, true), 1_536);
});
