// What the client in JavaScript publishes, with a scripted gateway and a clock that moves only when a test moves it.

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { Campanile } from './campanile.js';
import { fakeWebSocket, settle, withClock } from './testing.mjs';

const sockets = [];
let clock;
const FakeWebSocket = fakeWebSocket(sockets);

withClock((started) => {
  sockets.length = 0;
  clock = started;
});

const socket = () => sockets.at(-1);
const greet = (more) => socket().say({ type: 'welcome', worker: 1, connection: 2, position: 'P', ...more });
const published = () => socket().sent.filter(({ type }) => type === 'publish');

async function start(options) {
  const heard = { events: [], errors: [] };
  const client = new Campanile('ws://a/', {
    WebSocket: FakeWebSocket,
    onEvent: (event) => heard.events.push(event),
    onError: (error) => heard.errors.push(error),
    ...options,
  });
  await settle();
  return { client, heard };
}

/** The state of a promise: undefined while it is pending, a position, or the code of an error. */
function watch(promise) {
  const watched = { promise };
  promise.then(({ position }) => (watched.is = position), ({ code }) => (watched.is = code));
  return watched;
}

/** Loses the connection, and opens the next one. */
function reconnect(welcome) {
  socket().end(1006);
  clock.pass(1_000);
  greet(welcome);
}

test('each answer settles its own publish', async () => {
  const { client, heard } = await start();
  greet();
  const [one, two, three] = ['1', '2', '3'].map((content) => watch(client.publish('chat', content)));
  assert.deepEqual(published()[0], { type: 'publish', group: 'chat', content: '1', ref: '1' });
  socket().say(
    { type: 'published', position: 'P3', ref: '3' },
    { type: 'error', code: 'rate_limited', message: 'too often', ref: '1' },
    { type: 'published', position: 'P2', ref: '2' },
    { type: 'published', position: 'P9', ref: '9' },
  );
  await settle();
  assert.deepEqual([one.is, two.is, three.is], ['rate_limited', 'P2', 'P3']);
  await assert.rejects(one.promise, { message: 'too often', code: 'rate_limited' });
  assert.deepEqual(heard.errors, [], 'an error of a publish is no other error');
});

test('an error of a publish leaves the groups as they are', async () => {
  const { client } = await start({ groups: ['news'] });
  greet();
  client.join('eu');
  const refused = watch(client.publish('chat', 'hi'));
  socket().say({ type: 'error', code: 'not_allowed', message: 'no', ref: '1' });
  await settle();
  assert.equal(refused.is, 'not_allowed');
  assert.deepEqual([...client.groups.keys()], ['news', 'eu']);
});

test('the options and bytes are sent', async () => {
  const { client } = await start();
  greet();
  client.publish('chat', new Uint8Array([9, 255, 9]).subarray(1, 2), { id: 'order-42', echo: false });
  client.publish('chat', new Uint8Array([255]).buffer);
  assert.deepEqual(published(), [
    { type: 'publish', group: 'chat', content_base64: '/w==', id: 'order-42', ref: '1', echo: false },
    { type: 'publish', group: 'chat', content_base64: '/w==', ref: '2' },
  ]);
});

test('what is published before there is a connection is sent after the welcome', async () => {
  const { client } = await start();
  const early = watch(client.publish('chat', 'early'));
  assert.deepEqual(published(), []);
  greet();
  assert.equal(published()[0].content, 'early');
  socket().say({ type: 'published', position: 'P1', ref: '1' });
  await settle();
  assert.equal(early.is, 'P1');
  reconnect();
  assert.deepEqual(published(), [], 'it has its answer');
});

test('after a reconnect an event with an id is repeated and one without is unknown', async () => {
  const { client } = await start();
  greet();
  const [without, first, second] = [undefined, 'a', 'b'].map((id) => watch(client.publish('chat', 'x', { id })));
  socket().end(1006);
  await settle();
  assert.deepEqual([without.is, first.is, second.is], ['unknown', undefined, undefined]);
  const meanwhile = watch(client.publish('chat', 'new'));
  clock.pass(1_000);
  assert.deepEqual(published(), [], 'nothing is sent before the welcome');
  greet();
  assert.deepEqual(published().map(({ id, content }) => id ?? content), ['a', 'b', 'new']);
  const [a, b, c] = published().map(({ ref }) => ref);
  // Whether the first time was accepted is not known from a repeat that was not sent.
  socket().say(
    { type: 'published', position: 'P1', ref: a },
    { type: 'error', code: 'busy', message: 'full', ref: b },
    { type: 'error', code: 'busy', message: 'full', ref: c },
  );
  await settle();
  assert.deepEqual([first.is, second.is, meanwhile.is], ['P1', 'unknown', 'busy']);
});

test('a repeat that could be accepted twice is not sent', async () => {
  let now = 1_000;
  mock.method(Date, 'now', () => now);
  const { client } = await start();
  greet({ user: '42' });
  const publish = (id) => watch(client.publish('chat', 'x', { id }));
  const young = publish('a');
  now += 99_999;
  reconnect({ user: '42' });
  assert.deepEqual(published().map(({ id }) => id), ['a']);
  // Its age counts from the first time on, also while the computer sleeps.
  now += 1;
  reconnect({ user: '42' });
  await settle();
  assert.deepEqual([young.is, published()], ['unknown', []]);
  const lost = publish('b');
  reconnect({ user: '42', recovered: false, reason: 'epoch_changed' });
  await settle();
  assert.deepEqual([lost.is, published()], ['unknown', []]);
});

test('nothing is published for another user than the one who was there', async () => {
  const { client } = await start();
  greet({ user: '42' });
  const sent = watch(client.publish('chat', 'x', { id: 'a' }));
  socket().end(1006);
  const waiting = watch(client.publish('chat', 'y'));
  clock.pass(1_000);
  greet({ user: '43' });
  await settle();
  assert.deepEqual([sent.is, waiting.is, published()], ['unknown', 'unavailable', []]);
  assert.equal(watch(client.publish('chat', 'z')).is, undefined);
  assert.equal(published().length, 1);
});

test('a repeat that is refused leaves open what became of the first time', async () => {
  const { client } = await start();
  greet();
  const [refused, taken] = ['a', 'b'].map((id) => watch(client.publish('chat', 'x', { id })));
  reconnect();
  const [a, b] = published().map(({ ref }) => ref);
  socket().say({ type: 'error', code: 'not_allowed', message: 'no', ref: a }, { type: 'error', code: 'id_taken', message: 'no', ref: b });
  await settle();
  assert.deepEqual([refused.is, taken.is], ['unknown', 'id_taken']);
});

test('a message that was not read is made up for on a new connection', async () => {
  const { client } = await start({ groups: ['news'] });
  greet();
  const publish = watch(client.publish('chat', 'x', { id: 'a' }));
  client.join('eu');
  socket().say({ type: 'error', code: 'rate_limited', message: 'too many messages' });
  assert.equal(client.state, 'waiting');
  clock.pass(5_000);
  greet();
  assert.deepEqual(new URL(socket().url).searchParams.getAll('group'), ['news', 'eu']);
  assert.deepEqual(published().map(({ id }) => id), ['a']);
  await settle();
  assert.equal(publish.is, undefined);
});

test('a message that is too large for a gateway is not sent', async () => {
  const { client } = await start();
  greet();
  await assert.rejects(client.publish('chat', 'é'.repeat(32_750)), { code: 'too_large' });
  watch(client.publish('chat', 'é'.repeat(32_700)));
  assert.equal(published().length, 1);
  assert.equal(client.state, 'open');
});

test('a closed client settles everything', async () => {
  const { client } = await start();
  const unsent = watch(client.publish('chat', 'x'));
  client.close();
  await settle();
  assert.equal(unsent.is, 'unavailable');
  await assert.rejects(client.publish('chat', 'x'), { code: 'unavailable' });
  client.connect();
  greet();
  const sent = watch(client.publish('chat', 'x', { id: 'a' }));
  socket().end(1008, 'refused');
  await settle();
  assert.equal(sent.is, 'unknown');
  assert.equal(client.state, 'closed');
});

test('there are at most 64 publishes without an answer', async () => {
  const { client } = await start();
  greet();
  const all = Array.from({ length: 65 }, () => watch(client.publish('chat', 'x')));
  await settle();
  assert.deepEqual(all.map(({ is }) => is).filter(Boolean), ['busy']);
  socket().say({ type: 'published', position: 'P1', ref: '1' });
  await settle();
  assert.equal(watch(client.publish('chat', 'x')).is, undefined);
  assert.equal(published().length, 65);
});

test('what cannot be published is refused at once', async () => {
  const { client } = await start();
  greet();
  for (const [group, content, options] of [
    ['', 'x'],
    ['chat', 7],
    ['chat', undefined],
    ['chat', 'x', { id: '' }],
    ['chat', 'x', { id: 5 }],
    ['chat', 'x', { id: 'a\nb' }],
    ['chat', 'x', { echo: 'no' }],
  ]) assert.throws(() => client.publish(group, content, options), TypeError);
  assert.deepEqual(published(), []);
});

test('an event says which user published it', async () => {
  const { heard } = await start({ groups: ['chat'] });
  greet();
  socket().say({ type: 'event', id: 'P1', to: { group: 'chat' }, from: { user: '42' }, content: 'hi' });
  assert.deepEqual(heard.events, [{ id: 'P1', to: { group: 'chat' }, content: 'hi', from: { user: '42' } }]);
});
