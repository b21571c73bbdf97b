import assert from 'node:assert/strict';
import test from 'node:test';

import { ago, bytes, closeWord, count, cut, describeAudience, dialectWord, duration, endMood, endWord, rate, readAddress, reasonMood, reasonWord, unavailableWord } from './words.js';

test('numbers fit where they are shown', () => {
  assert.deepEqual([0, 0.26, 9.96, 1_234, 27_650, 3e6].map(rate), ['0', '0.3', '10', '1,234', '27.7K', '3M']);
  assert.deepEqual([0, 999, 1_000, 1_536, 64 << 20].map(bytes), ['0 B', '999 B', '1.0 KiB', '1.5 KiB', '64 MiB']);
  assert.deepEqual([0.000_012, 0.0012, 0.02, 1.5, 42, 600, 7_300, 200_000].map(duration),
    ['12 µs', '1.2 ms', '20 ms', '1.5 s', '42 s', '10 min', '2 h', '2 days']);
  assert.deepEqual([-3, 0.6, 7, 9.96, 42, 600].map(ago), ['0 s ago', '1 s ago', '7 s ago', '10 s ago', '42 s ago', '10 min ago']);
  for (const shown of [rate, bytes, duration, count]) assert.deepEqual([shown(null), shown(undefined)], ['–', '–']);
});

test('an address is read as it is written anywhere', () => {
  const address = ['4735311121432576', '7'];
  for (const text of ['4735311121432576/7', '4735311121432576 7', 'workerID:4735311121432576 connectionID:7 connected']) {
    assert.deepEqual(readAddress(text), address, text);
  }
  for (const text of ['', '7', '1/2/3', 'a/b', `${'9'.repeat(21)}/1`]) assert.equal(readAddress(text), null, text);
});

test('a word that nobody knows is shown as it is', () => {
  assert.equal(reasonWord('of_the_future'), 'of_the_future');
  assert.equal(reasonMood('of_the_future'), 'bad');
  assert.equal(closeWord('constructor'), '');
  assert.equal(describeAudience({ group: 'news' }), 'the group news');
  assert.equal(describeAudience('everyone'), 'everyone');
  assert.equal(cut('abcdef', 4), 'abc…');
});

test('the end of a connection has words, also by its code alone', () => {
  assert.equal(endWord({ cause: 'operator', code: 4403 }), 'disconnected by an operator');
  assert.equal(endWord({ code: 4001 }), 'the client read too slowly');
  assert.equal(endWord({ cause: 'of_the_future', code: 1013 }), closeWord(1013));
  assert.equal(endWord({ cause: null, code: 0 }), 'went away without a close, or was cut');
  assert.equal(endWord({ cause: 'constructor', code: 4999 }), '');
  const moods = [{ cause: 'operator', code: 4403 }, { cause: null, code: 0 }, { code: 1000 }, { cause: 'too_slow', code: 4001 }, { code: 4001 }].map(endMood);
  assert.deepEqual(moods, ['none', 'none', 'none', 'bad', 'bad']);
  assert.deepEqual([dialectWord('v1'), dialectWord('v9'), dialectWord(null)], ['campanile.v1', 'v9', '–']);
});

test('only a publisher without a broker says so', () => {
  assert.deepEqual(['no_broker', 'link_full', 'too_many', undefined].map(unavailableWord),
    ['no broker', 'no answer', 'no answer', 'no answer']);
});
