// The token of the client in JavaScript, with a scripted gateway and a clock that moves only when a test moves it.

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
const greet = () => socket().say({ type: 'welcome', worker: 1, connection: 2, position: 'P', user: '42', expires_in: 60 });

async function start(token, options) {
  const heard = { states: [], errors: [] };
  const client = new Campanile('ws://a/', {
    token,
    WebSocket: FakeWebSocket,
    onState: (state, detail) => heard.states.push([state, detail]),
    onError: (error) => heard.errors.push(error),
    ...options,
  });
  await settle();
  return { client, heard };
}

/** A function that returns one token after the other, and counts its calls. */
const tokens = (...list) => {
  const next = () => list[Math.min(next.calls++, list.length - 1)];
  next.calls = 0;
  return next;
};

/** The token that a socket was opened with. */
const shown = ({ protocols } = socket()) => {
  const [name, carrier] = protocols;
  assert.equal(name, 'campanile.v1');
  assert.match(carrier, /^base64url\.bearer\.campanile\.[A-Za-z0-9_-]+$/);
  return Buffer.from(carrier.split('.').at(-1), 'base64url').toString();
};

test('a string is shown to the gateway with each connection', async () => {
  const { heard } = await start('a.b~é?>.c');
  assert.equal(shown(), 'a.b~é?>.c');
  greet();
  assert.equal(heard.states.at(-1)[1].user, '42');
  socket().end(1006);
  clock.pass(1_000);
  assert.deepEqual([sockets.length, shown()], [2, 'a.b~é?>.c']);
});

test('a function is asked before the first connection, and not again while its token is good', async () => {
  const token = tokens('one', 'two');
  await start(async () => token());
  assert.deepEqual([shown(), token.calls], ['one', 1]);
  greet();
  socket().end(1006);
  clock.pass(1_000);
  await settle();
  assert.deepEqual([sockets.length, shown(), token.calls], [2, 'one', 1]);
});

test('a token is renewed on the open connection when the gateway asks for it', async () => {
  await start(tokens('one', 'two'));
  greet();
  socket().say({ type: 'token', expires_in: 5 });
  await settle();
  assert.deepEqual(socket().sent, [{ type: 'auth', token: 'two' }]);
  // The next connection begins with the new one.
  socket().end(1006);
  clock.pass(1_000);
  assert.equal(shown(), 'two');
});

test('after 4401 a function is asked for another token, at once the first time', async () => {
  const { heard } = await start(tokens('old', 'new'));
  greet();
  socket().end(4401, 'expired');
  assert.deepEqual(heard.states.at(-1), ['waiting', { code: 4401, reason: 'expired', delay: 0 }]);
  clock.pass(1);
  await settle();
  assert.deepEqual([sockets.length, shown()], [2, 'new']);
  // A token that is refused again and again does not bypass the backoff.
  mock.method(Math, 'random', () => 0.5);
  socket().end(4401, 'invalid_token');
  clock.pass(1);
  await settle();
  assert.equal(heard.states.at(-1)[1].delay, 1_000);
});

test('after 4401 a client with a string, or without a token, is closed and says why', async () => {
  for (const token of ['fixed', undefined]) {
    const { client, heard } = await start(token);
    socket().say({ type: 'error', code: 'expired', message: 'the token has expired' });
    socket().end(4401, 'expired');
    assert.equal(client.state, 'closed');
    assert.deepEqual(heard.states.at(-1), ['closed', { code: 4401, reason: 'the token has expired' }]);
  }
});

test('a function that fails, or returns no string, is a failed attempt', async () => {
  let answer = () => { throw new Error('no network'); };
  const { heard } = await start(() => answer());
  const reason = () => heard.states.at(-1)[1].reason;
  assert.deepEqual([sockets.length, heard.states.at(-1)[0]], [0, 'waiting']);
  assert.equal(reason(), 'the function token failed: no network');
  answer = () => ({ token: 'not a string' });
  clock.pass(1_000);
  await settle();
  assert.equal(reason(), 'the function token returned no string');
  answer = () => 'good';
  clock.pass(5_000);
  await settle();
  assert.equal(shown(), 'good');
});

test('a function that never answers is given up, and its late answer ignored', async () => {
  const answers = [];
  const { heard } = await start(() => new Promise((resolve) => answers.push(resolve)));
  assert.equal(heard.states.at(-1)[0], 'connecting');
  clock.pass(15_000);
  assert.equal(heard.states.at(-1)[1].reason, 'no token in time');
  clock.pass(1_000);
  await settle();
  answers[0]('late');
  await settle();
  assert.deepEqual([answers.length, sockets.length], [2, 0]);
  answers[1]('good');
  await settle();
  assert.deepEqual([sockets.length, shown()], [1, 'good']);
});

test('a client that is closed while it waits for a token does not connect', async () => {
  let give;
  const { client } = await start(() => new Promise((resolve) => (give = resolve)));
  client.close();
  give('late');
  await settle();
  assert.deepEqual([client.state, sockets.length], ['closed', 0]);
});

test('a renewal that fails is reported and tried again while the connection lasts', async () => {
  let isBroken = false;
  const { heard } = await start(() => {
    if (isBroken) throw new Error('no network');
    return 'good';
  });
  greet();
  isBroken = true;
  socket().say({ type: 'token', expires_in: 20 });
  await settle();
  assert.deepEqual(heard.errors, [{ code: 'no_token', message: 'the function token failed: no network' }]);
  isBroken = false;
  clock.pass(5_000);
  await settle();
  assert.deepEqual(socket().sent, [{ type: 'auth', token: 'good' }]);
});

test('a group that a new token no longer allows is removed and reported', async () => {
  const { client, heard } = await start('t', { groups: ['news', 'eu'] });
  greet();
  socket().say({ type: 'left', group: 'news', reason: 'not_allowed' });
  assert.deepEqual([...client.groups.keys()], ['eu']);
  assert.deepEqual(heard.errors.map(({ code, group }) => [code, group]), [['not_allowed', 'news']]);
  // It is joined again only if the caller wants it, and then the answer counts.
  client.join('news');
  socket().say({ type: 'error', code: 'not_allowed', message: 'no', group: 'news' });
  assert.deepEqual([...client.groups.keys()], ['eu']);
});

const notAllowed = (group) => ({ type: 'error', code: 'not_allowed', message: `not allowed to listen to ${group}`, group });

test('a group that the token of a reconnect no longer allows is removed, and the others go on', async () => {
  const { client, heard } = await start(tokens('one', 'two'), { groups: ['a', 'b', 'c'] });
  greet();
  socket().end(1006);
  clock.pass(1_000);
  for (const group of ['b', 'c']) {
    socket().say(notAllowed(group));
    socket().end(4403);
    assert.equal(client.state, 'waiting');
    clock.pass(1_000);
    await settle();
  }
  assert.deepEqual(heard.errors.map(({ code, group }) => [code, group]), [['not_allowed', 'b'], ['not_allowed', 'c']]);
  assert.equal(sockets.length, 4);
  const { searchParams } = new URL(socket().url);
  assert.deepEqual([searchParams.getAll('group'), searchParams.get('since')], [['a'], 'P']);
  greet();
  assert.deepEqual([...client.groups], [['a', true]]);
});

test('4403 is final before the first welcome, and about anything but a group that the client has', async () => {
  const first = await start('one', { groups: ['a'] });
  socket().say(notAllowed('a'));
  socket().end(4403);
  assert.deepEqual([first.client.state, [...first.client.groups.keys()]], ['closed', ['a']]);
  for (const refused of [notAllowed('other'), notAllowed(undefined)]) {
    const { client, heard } = await start('one', { groups: ['a'] });
    greet();
    socket().end(1006);
    clock.pass(1_000);
    socket().say(refused);
    socket().end(4403);
    assert.deepEqual([client.state, heard.states.at(-1)[1].code, heard.errors], ['closed', 4403, []]);
  }
});

test('a group that was left while its refusal was on its way does not end the client', async () => {
  const { client } = await start('one', { groups: ['a', 'b'] });
  greet();
  socket().end(1006);
  clock.pass(1_000);
  client.leave('a');
  socket().say(notAllowed('a'));
  socket().end(4403);
  assert.equal(client.state, 'waiting');
  clock.pass(1_000);
  assert.deepEqual(new URL(socket().url).searchParams.getAll('group'), ['b']);
});

test('a page that joins the refused group again and again comes back more and more rarely', async () => {
  const { client } = await start('one', { groups: ['a'], onError: ({ group }) => client.join(group) });
  greet();
  socket().end(1006);
  for (let attempt = 0; attempt < 20; attempt++) {
    clock.pass(30_000);
    socket().say(notAllowed('a'));
    socket().end(4403);
  }
  const before = sockets.length;
  clock.pass(5_000);
  assert.ok(sockets.length - before <= 1, `${sockets.length - before} attempts in 5 s`);
});

test('a client that is closed when it loses a group on a reconnect stays closed', async () => {
  const { client, heard } = await start('one', { groups: ['a'], onError: () => client.close() });
  greet();
  socket().end(1006);
  clock.pass(1_000);
  socket().say(notAllowed('a'));
  socket().end(4403);
  clock.pass(100_000);
  assert.deepEqual([client.state, sockets.length, heard.states.at(-1)[0]], ['closed', 2, 'closed']);
});

test('a token that is neither a string nor a function is refused, and never shown', () => {
  for (const token of ['', 7, { secret: 'x' }]) {
    const accepted = /^token is accepted as a string, or as a function that returns one or a promise of one\.$/;
    assert.throws(() => new Campanile('ws://a/', { token, WebSocket: FakeWebSocket }), { name: 'TypeError', message: accepted });
  }
});
