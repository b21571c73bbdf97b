import assert from 'node:assert/strict';
import test from 'node:test';

import { Silence } from './silence.js';

test('a server that says nothing for ten seconds is lost', () => {
  const silence = new Silence();
  silence.heard(100);
  assert.deepEqual([100, 110, 110.5].map((now) => silence.isTooLong(now)), [false, false, true]);
  silence.heard(110.5);
  assert.deepEqual([111, 121].map((now) => silence.isTooLong(now)), [false, true]);
});
