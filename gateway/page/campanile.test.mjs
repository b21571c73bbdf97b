// Run by: node --test gateway/page/*.test.mjs, with Node 18 or later.
// A scripted gateway, and a clock that moves only when a test moves it. `catching_up.test.mjs` has a gateway with a log.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';

import { Campanile, groupProblem } from './campanile.js';
import { fakeWebSocket, withClock } from './testing.mjs';

const FIRST = 1_000;
const LONGEST = 30_000;
const SPREAD = 500;

/** Every socket that a client opened, the newest last. */
const sockets = [];
const FakeWebSocket = fakeWebSocket(sockets);
/** What Math.random returns. */
let random;
let clock;

withClock((started) => {
  sockets.length = 0;
  random = 0;
  clock = started;
}, () => random);

const socket = () => sockets.at(-1);
const welcome = (position, more) => ({ type: 'welcome', worker: 5, connection: 7, position, ...more });
const event = (id, group, content = `at ${id}`) => ({ type: 'event', id, to: group ? { group } : 'everyone', content });
const joined = (group, more) => ({ type: 'joined', group, ...more });
const left = (group) => ({ type: 'left', group });
const parameters = (name) => new URL(socket().url).searchParams.getAll(name);
const joinedByMessage = () => socket().sent.filter(({ type }) => type === 'join');
const pass = (milliseconds) => clock.pass(milliseconds);

/** A client that has begun to connect, with lists of its callbacks. */
async function start(options = {}, urls = 'ws://a/') {
  const heard = { events: [], states: [], gaps: [], errors: [], groups: [] };
  const client = new Campanile(urls, {
    WebSocket: FakeWebSocket,
    onEvent: (event) => heard.events.push(event),
    onState: (state, detail) => heard.states.push([state, detail]),
    onGap: (gap) => heard.gaps.push(gap),
    onError: (error) => heard.errors.push(error),
    onGroups: (groups) => heard.groups.push(groups),
    ...options,
  });
  await null;
  const contents = () => heard.events.map(({ content }) => content);
  return { client, heard, contents };
}

/** Names of groups. About nine of them fit into the URL. */
const longNames = (count) => Array.from({ length: count }, (_, index) => `${index}`.padStart(2, '0') + 'x'.repeat(250));
const many = longNames(20);
const ahead = many[0];
const [behind, lastBehind] = many.slice(-2);

/** Answers the joins by message on the current connection, except for some groups. */
const answerJoins = (...except) => {
  for (const { group } of joinedByMessage()) if (!except.includes(group)) socket().say(joined(group));
};

/** Loses the connection, and waits for the next attempt. */
function reconnect(code = 1006) {
  socket().end(code);
  attempt();
}

/** Moves the clock to the next attempt. */
function attempt() {
  const before = sockets.length;
  for (let passed = 0; sockets.length === before; passed += 50) {
    assert.ok(passed <= LONGEST, 'no attempt');
    pass(50);
  }
}

describe('connecting', () => {
  test('speaks campanile.v1, reports its states and takes the position of the welcome', async () => {
    const { client, heard } = await start();
    assert.equal(client.position, undefined);
    assert.deepEqual([socket().url, socket().protocols], ['ws://a/', 'campanile.v1']);
    assert.equal(client.state, 'connecting');
    socket().say(welcome('P1'));
    assert.equal(client.state, 'open');
    assert.equal(client.position, 'P1');
    const detail = { url: 'ws://a/', address: { worker: 5, connection: 7 }, user: undefined, recovered: undefined, reason: undefined, history: undefined };
    assert.deepEqual(heard.states, [['connecting', { url: 'ws://a/' }], ['open', detail]]);
    assert.deepEqual(heard.gaps, []);
  });

  test('calls nothing back before the code that made the client has finished', () => {
    let calls = 0;
    const client = new Campanile('ws://a/', { WebSocket: FakeWebSocket, groups: ['g'], onState: () => calls++, onGroups: () => calls++ });
    assert.deepEqual([calls, sockets.length], [0, 0]);
    client.close();
    assert.equal(client.state, 'closed');
  });

  test('a client that is closed inside a callback calls nothing back after that', async () => {
    const states = [];
    const { client, heard } = await start({
      since: 'P0',
      onState: (state) => {
        states.push(state);
        if (state === 'open') client.close();
      },
    });
    socket().say(welcome('P1', { recovered: false, reason: 'expired' }));
    assert.deepEqual(states, ['connecting', 'open', 'closed']);
    assert.deepEqual(heard.gaps, []);
  });

  test('a client that is closed at once never connects', async () => {
    new Campanile('ws://a/', { WebSocket: FakeWebSocket }).close();
    await null;
    assert.equal(sockets.length, 0);
  });

  test('the URL carries the position and the groups, percent-encoded', async () => {
    await start({ since: 'P 1', groups: ['news', "it's & more", '안녕'] });
    assert.equal(socket().url, "ws://a/?since=P%201&group=news&group=it's%20%26%20more&group=%EC%95%88%EB%85%95");
  });

  test('http becomes ws, other parameters stay, a fragment is removed', async () => {
    for (const [given, expected] of [
      ['http://a:4236', 'ws://a:4236/?group=g'],
      ['https://a/x?token=t#f', 'wss://a/x?token=t&group=g'],
      ['wss://a', 'wss://a/?group=g'],
    ]) {
      await start({ groups: ['g'] }, given);
      assert.equal(socket().url, expected);
    }
  });

  test('a URL or group that can never work is refused at once, with a sentence', () => {
    assert.throws(() => new Campanile('ws://a/', { WebSocket: undefined }), { name: 'TypeError', message: /no WebSocket here.*from 'ws'/ });
    for (const urls of [[], 'ftp://a/', 'no url', ['ws://a/', 'mailto:b@c']]) {
      assert.throws(() => new Campanile(urls, { WebSocket: FakeWebSocket }), TypeError, String(urls));
    }
    assert.throws(() => new Campanile('ws://a/', { WebSocket: FakeWebSocket, groups: [''] }), TypeError);
    assert.throws(() => new Campanile('no url', { WebSocket: FakeWebSocket }), { name: 'TypeError', message: '"no url" is not a URL: a ws:, wss:, http: or https: URL is accepted.' });
    assert.throws(() => new Campanile('ws://a/', { WebSocket: FakeWebSocket, groups: 'news' }), { name: 'TypeError', message: 'groups is "news": an array of names is accepted.' });
  });

  test('an invalid option is an error that says what is accepted', () => {
    for (const [options, message] of [
      [{ since: 7 }, "since is 7: a position, which is a string, or 'first' is accepted."],
      [{ since: '' }, "since is \"\": a position, which is a string, or 'first' is accepted."],
      [{ last: 0 }, 'last is 0: a whole number from 1 to 1000 is accepted.'],
      [{ last: 1_001 }, 'last is 1001: a whole number from 1 to 1000 is accepted.'],
      [{ last: '3' }, 'last is "3": a whole number from 1 to 1000 is accepted.'],
      [{ last: 3, since: 'first' }, 'since and last are both given: one of them is accepted.'],
      [{ groups: 5 }, 'groups is 5: an array of names is accepted.'],
      [{ groups: null }, 'groups is null: an array of names is accepted.'],
      [{ onEvent: 'log' }, 'onEvent is "log": a function is accepted.'],
      [{ onevent() {} }, 'There is no option onevent: groups, since, last, token, WebSocket, onEvent, onState, onGap, onGroups, onError are accepted.'],
    ]) {
      assert.throws(() => new Campanile('ws://a/', { WebSocket: FakeWebSocket, ...options }), { name: 'TypeError', message });
    }
    new Campanile('ws://a/', { WebSocket: FakeWebSocket, since: null, last: undefined, onEvent: undefined }).close();
  });

  test('the WebSocket of the platform is used where there is one', async () => {
    globalThis.WebSocket = FakeWebSocket;
    try {
      new Campanile('ws://a/');
      await null;
      assert.equal(sockets.length, 1);
    } finally {
      delete globalThis.WebSocket;
    }
  });

  test('a WebSocket that throws is a failed attempt', async () => {
    let throws = true;
    class Refusing extends FakeWebSocket {
      constructor(...all) {
        if (throws) throw new Error('mixed content');
        super(...all);
      }
    }
    random = 0.5;
    const { heard } = await start({ WebSocket: Refusing });
    assert.deepEqual(heard.states, [['waiting', { code: 1006, reason: 'mixed content', delay: FIRST / 2 }]]);
    throws = false;
    pass(FIRST);
    assert.equal(sockets.length, 1);
  });

  test('a gateway that does not greet is given up', async () => {
    const { client } = await start();
    pass(14_999);
    assert.equal(client.state, 'connecting');
    pass(1);
    assert.equal(client.state, 'waiting');
    assert.ok(socket().isClosed);
    // Without a listener, the package ws throws errors, even of a closed socket.
    socket().onerror();
  });
});

describe('events', () => {
  test('arrive in order, and the position is that of the last one', async () => {
    const { client, heard } = await start({ onEvent: (event) => heard.events.push([client.position, event]) });
    socket().say(welcome('P0'), event('P1'), { type: 'event', id: 'P2', to: { group: 'g' }, content: 'unwanted' });
    client.join('g');
    socket().say(joined('g'), event('P3', 'g'));
    assert.deepEqual(heard.events, [
      ['P1', { id: 'P1', to: 'everyone', content: 'at P1' }],
      ['P3', { id: 'P3', to: { group: 'g' }, content: 'at P3' }],
    ]);
  });

  test('for the user arrive whatever groups there are, and move the position', async () => {
    const { client, heard } = await start();
    socket().say(welcome('P0'), { type: 'event', id: 'P1', to: { user: 'g' }, content: 'a' });
    assert.deepEqual(heard.events, [{ id: 'P1', to: { user: 'g' }, content: 'a' }]);
    assert.equal(client.position, 'P1');
  });

  test('for this connection have no id and do not change the position', async () => {
    const { client, heard } = await start();
    socket().say(welcome('P0'), { type: 'event', to: 'connection', content: 'a' }, { type: 'event', to: 'connection', content: 'a' });
    assert.deepEqual(heard.events, [1, 2].map(() => ({ id: undefined, to: 'connection', content: 'a' })));
    assert.equal(client.position, 'P0');
  });

  test('with binary content arrive as bytes', async () => {
    const { contents } = await start();
    socket().say(welcome('P0'), { type: 'event', id: 'P1', to: 'everyone', content_base64: 'AP+A' });
    socket().say({ type: 'event', id: 'P2', to: 'everyone', content_base64: '' });
    assert.deepEqual(contents(), [Uint8Array.of(0, 255, 128), new Uint8Array()]);
  });

  test('a position message moves the position of a quiet client', async () => {
    const { client, heard } = await start();
    socket().say(welcome('P0'), { type: 'position', id: 'P9' });
    assert.equal(client.position, 'P9');
    assert.deepEqual(heard.events, []);
  });

  test('a gap is reported, and the stream continues after it', async () => {
    const { client, heard, contents } = await start();
    socket().say(welcome('P0'), event('P1'), { type: 'gap', reason: 'epoch_changed', position: 'Q0' });
    assert.equal(client.position, 'Q0');
    assert.deepEqual(heard.gaps, [{ reason: 'epoch_changed', position: 'Q0', resuming: false }]);
    socket().say(event('Q1'));
    assert.deepEqual(contents(), ['at P1', 'at Q1']);
    reconnect();
    assert.deepEqual(parameters('since'), ['Q1']);
  });

  test('unknown types are ignored, and an unknown error is reported', async () => {
    const { client, heard } = await start();
    socket().say(welcome('P0'), { type: 'news_of_2030' }, { type: 'error', code: 'malformed', message: 'no' });
    assert.deepEqual(heard.errors, [{ code: 'malformed', message: 'no', group: undefined }]);
    assert.equal(client.state, 'open');
  });

  test('a malformed message ends the connection, not the program', async () => {
    const { client, heard } = await start();
    for (const data of ['workerID:1 connectionID:1 connected\n', 'null', '{"type":"event","content_base64":"*"}', new ArrayBuffer(1)]) {
      socket().onmessage({ data });
      assert.equal(client.state, 'waiting', String(data));
      attempt();
    }
    assert.equal(heard.events.length, 0);
  });
});

describe('resuming', () => {
  test('continues from the last position with all groups, and reports that it recovered', async () => {
    const { client, heard, contents } = await start({ groups: ['a'] });
    socket().say(welcome('P0'), event('P1', 'a'));
    client.join('b');
    reconnect();
    assert.deepEqual([parameters('since'), parameters('group')], [['P1'], ['a', 'b']]);
    socket().say(welcome('P1', { recovered: true }), event('P2', 'b'), event('P3'));
    assert.equal(heard.states.at(-1)[1].recovered, true);
    assert.deepEqual(heard.gaps, []);
    assert.deepEqual(contents(), ['at P1', 'at P2', 'at P3']);
    assert.equal(client.position, 'P3');
    assert.deepEqual(socket().sent, []);
  });

  for (const reason of ['epoch_changed', 'expired', 'too_far', 'malformed']) {
    test(`that fails (${reason}) is a gap, and the stream starts over`, async () => {
      const { client, heard } = await start({ since: 'P1' });
      assert.deepEqual(parameters('since'), ['P1']);
      assert.equal(client.position, 'P1');
      socket().say(welcome('Q0', { recovered: false, reason }));
      assert.equal(client.position, 'Q0');
      assert.deepEqual(heard.gaps, [{ reason, position: 'Q0', resuming: true }]);
      const [state, detail] = heard.states.at(-1);
      assert.deepEqual([state, detail.recovered, detail.reason], ['open', false, reason]);
    });
  }

  test('a position from storage may be missing', async () => {
    const { client } = await start({ since: null });
    assert.equal(socket().url, 'ws://a/');
    assert.equal(client.position, undefined);
  });

  test('an attempt that fails keeps the position', async () => {
    await start();
    socket().say(welcome('P0'), event('P1'));
    reconnect();
    reconnect();
    assert.equal(sockets.length, 3);
    assert.deepEqual(parameters('since'), ['P1']);
  });
});

describe('close codes', () => {
  for (const code of [1002, 1003, 1007, 1008, 1009, 4403]) {
    test(`${code} is final`, async () => {
      const { client, heard } = await start();
      socket().say(welcome('P0'));
      socket().end(code, 'because');
      assert.deepEqual(heard.states.at(-1), ['closed', { code, reason: 'because' }]);
      pass(600_000);
      assert.equal(sockets.length, 1);
      assert.equal(client.state, 'closed');
      client.connect();
      assert.deepEqual(parameters('since'), ['P0']);
    });
  }

  for (const code of [1001, 4001]) {
    test(`${code} comes back at once, spread over half a second`, async () => {
      for (const [answer, delay] of [[0, 0], [0.999, 499.5]]) {
        random = answer;
        const { heard } = await start();
        socket().say(welcome('P0'));
        socket().end(code);
        assert.deepEqual(heard.states.at(-1), ['waiting', { code, reason: '', delay }]);
      }
    });
  }

  test('1001 again and again does not bypass the backoff', async () => {
    random = 0.5;
    const { heard } = await start();
    const delays = [1, 2, 3].map(() => {
      socket().say(welcome('P0'));
      socket().end(1001);
      attempt();
      return heard.states.findLast(([state]) => state === 'waiting')[1].delay;
    });
    assert.deepEqual(delays, [SPREAD / 2, FIRST, 2 * FIRST]);
  });

  for (const code of [1000, 1005, 1006, 1011, 1012, 1013, 4000, 4429]) {
    test(`${code} comes back after a while`, async () => {
      random = 0.5;
      const { heard } = await start();
      socket().say(welcome('P0'));
      socket().end(code);
      // From the only gateway, these mean that it will take longer.
      const delay = [1013, 4429].includes(code) ? 2_500 : FIRST / 2;
      assert.equal(heard.states.at(-1)[1].delay, delay);
      pass(delay - 1);
      assert.equal(sockets.length, 1);
      pass(1);
      assert.equal(sockets.length, 2);
    });
  }
});

describe('a refusal', () => {
  const refusal = { type: 'error', code: 'invalid_request', message: 'unknown parameter "x"' };

  test('comes before the close, and stops the client with its reason', async () => {
    const { client, heard } = await start({ groups: ['a'] });
    socket().say(refusal);
    assert.equal(client.state, 'connecting');
    socket().end(1008, 'policy');
    assert.deepEqual(heard.states.at(-1), ['closed', { code: 1008, reason: 'unknown parameter "x"' }]);
    assert.deepEqual([heard.errors, [...client.groups]], [[], [['a', false]]]);
    pass(600_000);
    assert.equal(sockets.length, 1);
  });

  test('whose close is lost is tried again, and its reason is reported', async () => {
    const { heard } = await start();
    socket().say(refusal);
    socket().end(1006);
    const [state, { reason }] = heard.states.at(-1);
    assert.deepEqual([state, reason], ['waiting', 'unknown parameter "x"']);
    attempt();
    socket().end(1006, '');
    assert.equal(heard.states.at(-1)[1].reason, '', 'it was the reason of the earlier attempt');
  });

  test('that is never followed by a close is given up in time', async () => {
    const { client } = await start();
    pass(10_000);
    socket().say(refusal);
    pass(5_000);
    assert.equal(client.state, 'waiting');
  });

  test('differs from an outage: after a failed handshake the client tries again', async () => {
    const { heard } = await start();
    for (let failed = 0; failed < 20; failed++) reconnect();
    assert.equal(sockets.length, 21);
    assert.ok(heard.states.every(([state]) => state !== 'closed'));
  });
});

describe('backoff', () => {
  const delaysOf = (heard) => heard.states.filter(([state]) => state === 'waiting').map(([, { delay }]) => delay);

  test('is a random part of a bound that doubles up to 30 s', async () => {
    for (const [answer, expected] of [
      [0, [0, 0, 0, 0, 0, 0, 0]],
      [0.5, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]],
      [1, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]],
    ]) {
      random = answer;
      const { client, heard } = await start();
      for (let attempt = 0; attempt < 7; attempt++) reconnect();
      assert.deepEqual(delaysOf(heard), expected);
      client.close();
    }
  });

  test('grows only when all URLs have failed', async () => {
    random = 0.5;
    const { heard } = await start({}, ['ws://a/', 'ws://b/', 'ws://c/']);
    for (let attempt = 0; attempt < 7; attempt++) reconnect(attempt % 2 ? 1006 : 1013);
    assert.deepEqual(delaysOf(heard), [500, 500, 500, 1_000, 1_000, 1_000, 2_000]);
  });

  test('spreads the attempts of many clients over the whole pause', async () => {
    mock.method(Math, 'random', () => (random = (random * 16_807 + 12_345) % 2_147_483_647) / 2_147_483_647);
    const delays = [];
    for (let number = 0; number < 200; number++) {
      const { client, heard } = await start();
      for (let attempt = 0; attempt < 6; attempt++) reconnect();
      delays.push(delaysOf(heard).at(-1));
      client.close();
    }
    for (let tenth = 0; tenth < 10; tenth++) {
      const count = delays.filter((delay) => Math.floor(delay / 3_000) === tenth).length;
      assert.ok(count >= 5 && count <= 45, `${count} in part ${tenth}`);
    }
  });

  test('starts over only after a connection that lasted 5 s', async () => {
    random = 0.5;
    const { heard } = await start();
    reconnect();
    reconnect();
    socket().say(welcome('P0'));
    pass(4_999);
    reconnect();
    socket().say(welcome('P0'));
    pass(5_000);
    reconnect();
    assert.deepEqual(delaysOf(heard), [500, 1_000, 2_000, 500]);
  });

  test('connect() does not wait for its end, and connects once', async () => {
    random = 0.5;
    const { client } = await start();
    client.connect();
    socket().end(1006);
    client.connect();
    assert.equal(client.state, 'connecting');
    client.connect();
    pass(1_000);
    client.connect();
    assert.equal(sockets.length, 2);
    socket().say(welcome('P0'));
    client.connect();
    assert.equal(sockets.length, 2);
  });

  test('starts over with connect()', async () => {
    random = 0.5;
    const { client, heard } = await start();
    for (let failed = 0; failed < 4; failed++) reconnect();
    socket().end(1006);
    client.connect();
    socket().end(1006);
    assert.deepEqual(delaysOf(heard), [500, 1_000, 2_000, 4_000, 8_000, 500]);
  });
});

describe('several URLs', () => {
  const urls = ['ws://a/', 'ws://b/', 'ws://c/'];

  test('are tried from a random one on, and the next one after each failure', async () => {
    random = 0.34;
    await start({}, urls);
    for (const code of [1006, 1013, 1006]) reconnect(code);
    assert.deepEqual(sockets.map(({ url }) => url), ['ws://b/', 'ws://c/', 'ws://a/', 'ws://b/']);
  });

  test('a gateway that shuts down is followed by another one', async () => {
    await start({}, urls);
    socket().say(welcome('P0'));
    reconnect(1001);
    assert.equal(socket().url, 'ws://b/?since=P0');
  });
});

describe('a half-open socket', () => {
  test('gets a ping after 20 s of silence, and is given up 10 s later', async () => {
    const { client, heard } = await start();
    socket().say(welcome('P0'));
    pass(19_999);
    assert.deepEqual(socket().sent, []);
    pass(1);
    assert.deepEqual(socket().sent, [{ type: 'ping' }]);
    pass(9_999);
    assert.equal(client.state, 'open');
    pass(1);
    assert.deepEqual(heard.states.at(-1), ['waiting', { code: 1006, reason: 'the gateway does not answer', delay: 0 }]);
    assert.ok(socket().isClosed);
  });

  test('is not suspected while any message arrives', async () => {
    const { client } = await start();
    socket().say(welcome('P0'));
    for (const sign of [{ type: 'pong' }, event('P1'), { type: 'position', id: 'P2' }]) {
      pass(25_000);
      socket().say(sign);
    }
    pass(29_999);
    assert.equal(client.state, 'open');
    assert.equal(socket().sent.length, 4);
  });

  test('is ignored once it has been given up', async () => {
    const { heard } = await start();
    socket().say(welcome('P0'));
    pass(20_000);
    pass(10_000);
    sockets[0].say(event('P1'));
    sockets[0].end(1008);
    assert.deepEqual(heard.events, []);
    assert.equal(heard.states.at(-1)[0], 'waiting');
  });
});

describe('a page or a network that comes back', () => {
  /** A browser's globals, as far as the client uses them. */
  class Browser {
    document = new Browser.Target();
    listeners = new Browser.Target();

    static Target = class {
      visibilityState = 'visible';
      #listeners = new Map();
      addEventListener = (type, listener) => this.#listeners.set(type, (this.#listeners.get(type) ?? new Set()).add(listener));
      removeEventListener = (type, listener) => this.#listeners.get(type)?.delete(listener);
      fire = (type, more) => this.#listeners.get(type)?.forEach((listener) => listener({ type, ...more }));
      get count() {
        return [...this.#listeners.values()].reduce((sum, { size }) => sum + size, 0);
      }
    };

    get count() {
      return this.document.count + this.listeners.count;
    }
  }
  let browser;
  const wakes = {
    online: () => browser.listeners.fire('online'),
    pageshow: () => browser.listeners.fire('pageshow', { persisted: true }),
    visibilitychange: () => browser.document.fire('visibilitychange'),
  };

  beforeEach(() => {
    browser = new Browser();
    const { addEventListener, removeEventListener } = browser.listeners;
    Object.assign(globalThis, { document: browser.document, addEventListener, removeEventListener });
  });

  afterEach(() => {
    for (const name of ['document', 'addEventListener', 'removeEventListener']) delete globalThis[name];
  });

  for (const [type, wake] of Object.entries(wakes)) {
    test(`makes a waiting client try at once (${type}), with short pauses again`, async () => {
      random = 1;
      const { heard } = await start();
      for (let attempt = 0; attempt < 8; attempt++) reconnect();
      socket().end(1006);
      wake();
      assert.equal(sockets.length, 10);
      socket().end(1006);
      assert.equal(heard.states.at(-1)[1].delay, FIRST);
    });

    test(`makes a client replace a dead connection within 5 s (${type})`, async () => {
      const { client, heard } = await start();
      socket().say(welcome('P0'));
      pass(12_000);
      wake();
      assert.deepEqual(socket().sent, [{ type: 'ping' }]);
      pass(3_999);
      // Another such event does not extend the time.
      wake();
      assert.equal(client.state, 'open');
      pass(2);
      assert.equal(sockets.length, 2);
      assert.ok(sockets[0].isClosed);
      assert.deepEqual(parameters('since'), ['P0']);
      assert.deepEqual(heard.states.at(-2), ['waiting', { code: 1006, reason: 'the gateway does not answer', delay: 0 }]);
      assert.deepEqual(sockets[0].sent, [{ type: 'ping' }]);
    });
  }

  test('keeps a connection that answers, and checks it again the next time', async () => {
    const { client } = await start();
    socket().say(welcome('P0'));
    for (let time = 0; time < 3; time++) {
      wakes.online();
      wakes.visibilitychange();
      pass(3_000);
      socket().say({ type: 'pong' });
      pass(10_000);
    }
    assert.equal(client.state, 'open');
    assert.equal(socket().sent.length, 3);
    // The usual check for silence continues.
    pass(10_000);
    assert.equal(socket().sent.length, 4);
    pass(10_000);
    assert.equal(client.state, 'waiting');
  });

  test('shortens the wait for an answer that is already due', async () => {
    const { client } = await start();
    socket().say(welcome('P0'));
    pass(21_000);
    wakes.online();
    pass(4_000);
    assert.equal(client.state, 'waiting');
  });

  test('gives a young attempt 4 s, and replaces a long one by the next URL', async () => {
    const { client } = await start({}, ['ws://a/', 'ws://b/']);
    pass(1_999);
    wakes.online();
    assert.equal(sockets.length, 1);
    pass(4_000);
    assert.deepEqual([client.state, sockets.length], ['waiting', 1]);
    pass(1);
    pass(2_000);
    wakes.pageshow();
    assert.deepEqual(sockets.map(({ url }) => url), ['ws://a/', 'ws://b/', 'ws://a/']);
    // Further events do not start over again.
    wakes.online();
    assert.equal(sockets.length, 3);
    socket().say(welcome('P0'));
    pass(10_000);
    assert.equal(client.state, 'open');
  });

  test('connect() checks an open connection, too', async () => {
    const { client } = await start();
    socket().say(welcome('P0'));
    client.connect();
    client.connect();
    assert.deepEqual(socket().sent, [{ type: 'ping' }]);
    pass(4_001);
    assert.equal(sockets.length, 2);
  });

  test('is neither a hidden tab nor a page that is loaded', async () => {
    const { client } = await start();
    socket().say(welcome('P0'));
    browser.document.visibilityState = 'hidden';
    browser.document.fire('visibilitychange');
    browser.listeners.fire('pageshow', { persisted: false });
    assert.deepEqual([client.state, socket().sent], ['open', []]);
  });

  test('leaves a closed client closed and without listeners', async () => {
    const { client } = await start();
    assert.equal(browser.count, 3);
    client.close();
    assert.equal(browser.count, 0);
    client.connect();
    reconnect();
    assert.equal(browser.count, 3);
    socket().end(1008);
    assert.equal(browser.count, 0);
  });
});

test('a closed client lets a Node process end', () => {
  const program = `
    import { Campanile } from ${JSON.stringify(new URL('campanile.js', import.meta.url))};
    class Silent { send() {} close() {} }
    const client = new Campanile('ws://a/', { WebSocket: Silent });
    await null;
    client.connect();
    client.close();
    const other = new Campanile('ws://a/', { WebSocket: Silent });
    await null;
    other.close();
  `;
  const ended = spawnSync(process.execPath, ['--input-type=module', '--eval', program], { timeout: 10_000, encoding: 'utf8' });
  assert.deepEqual([ended.status, ended.stderr], [0, '']);
});

describe('history', () => {
  test('is asked for in the URL, and reported', async () => {
    for (const [options, query] of [[{ since: 'first' }, '?since=first'], [{ last: 3 }, '?last=3']]) {
      const { client, heard } = await start({ ...options, groups: ['a'] });
      assert.equal(socket().url, `ws://a/${query}&group=a`);
      assert.equal(client.position, undefined);
      const history = { events: 2, complete: false };
      socket().say(welcome('P0', { history }), event('P1', 'a'), event('P2'));
      assert.deepEqual(heard.states.at(-1)[1].history, history);
      assert.equal(heard.states.at(-1)[1].recovered, undefined);
      assert.deepEqual([heard.gaps, client.position], [[], 'P2']);
    }
  });

  test('is asked for until there is a position, and never after that', async () => {
    await start({ last: 3 });
    reconnect();
    assert.deepEqual([parameters('last'), parameters('since')], [['3'], []]);
    socket().say(welcome('P0', { history: { events: 2, complete: true } }));
    reconnect();
    assert.deepEqual([parameters('last'), parameters('since')], [[], ['P0']]);
    socket().say(welcome('Q0', { recovered: false, reason: 'expired' }));
    reconnect();
    assert.deepEqual([parameters('last'), parameters('since')], [[], ['Q0']]);
  });
});

describe('close()', () => {
  test('ends an open, a waiting and a connecting client for good', async () => {
    for (const until of [() => {}, () => socket().say(welcome('P0')), () => socket().end(1006)]) {
      sockets.length = 0;
      const { client, heard } = await start();
      until();
      client.close();
      client.close();
      assert.deepEqual(heard.states.filter(([state]) => state === 'closed'), [['closed', { code: 1000, reason: 'closed by this client' }]]);
      pass(600_000);
      assert.equal(sockets.length, 1);
      assert.ok(socket().isClosed || until.toString().includes('end'));
      socket().say(event('P1'));
      assert.deepEqual(heard.events, []);
    }
  });

  test('in the middle of a callback is respected', async () => {
    for (const callback of ['onState', 'onGroups', 'onEvent', 'onGap', 'onError']) {
      sockets.length = 0;
      let isArmed = false;
      const { client } = await start({ groups: many, since: 'P0', [callback]: () => isArmed && client.close() });
      isArmed = true;
      socket().say(welcome('P1', { recovered: false, reason: 'expired' }), event('P2'), { type: 'error', code: 'x', message: '' });
      assert.equal(client.state, 'closed', callback);
      pass(600_000);
      assert.equal(sockets.length, 1, callback);
    }
  });
});

describe('groups', () => {
  test('are joined and left by message on an open connection', async () => {
    const { client, heard } = await start();
    socket().say(welcome('P0'));
    client.join('a');
    client.join('a');
    assert.deepEqual([...client.groups], [['a', false]]);
    socket().say(joined('a'));
    assert.deepEqual([...client.groups], [['a', true]]);
    client.leave('a');
    client.leave('a');
    socket().say(left('a'));
    assert.deepEqual(socket().sent, [{ type: 'join', group: 'a' }, { type: 'leave', group: 'a' }]);
    assert.deepEqual([...client.groups], []);
    assert.deepEqual(heard.groups.slice(-3).map((groups) => [...groups]), [[['a', false]], [['a', true]], []]);
    reconnect();
    assert.deepEqual(parameters('group'), []);
  });

  test('of the URL are confirmed from the welcome until the connection is lost', async () => {
    const { client } = await start({ groups: ['a'] });
    assert.deepEqual([...client.groups], [['a', false]]);
    socket().say(welcome('P0'));
    assert.deepEqual([...client.groups], [['a', true]]);
    socket().end(1006);
    assert.deepEqual([...client.groups], [['a', false]]);
  });

  test('joined and left while there is no connection are in the next URL', async () => {
    const { client } = await start({ groups: ['a', 'b'] });
    socket().say(welcome('P0'));
    socket().end(1006);
    client.leave('a');
    client.join('c');
    attempt();
    assert.deepEqual(parameters('group'), ['b', 'c']);
    assert.deepEqual(sockets[0].sent, []);
  });

  test('joined and left while it connects follow the welcome', async () => {
    const { client, contents } = await start({ groups: ['a', 'b'], since: 'P0' });
    client.leave('a');
    client.join('c');
    socket().say(welcome('P0', { recovered: true }), event('P1', 'a'), event('P2', 'b'));
    assert.deepEqual(socket().sent, [{ type: 'leave', group: 'a' }, { type: 'join', group: 'c', since: 'P0' }]);
    assert.deepEqual(contents(), ['at P2']);
  });

  test('that were left are silent, but their events still move the position', async () => {
    const { client, contents } = await start({ groups: ['a'] });
    socket().say(welcome('P0'));
    client.leave('a');
    socket().say(event('P1', 'a'), left('a'));
    assert.deepEqual(contents(), []);
    assert.equal(client.position, 'P1');
  });

  test('left and joined again at once are confirmed by the last answer', async () => {
    const { client } = await start();
    socket().say(welcome('P0'));
    client.join('a');
    client.leave('a');
    client.join('a');
    socket().say(joined('a'), left('a'));
    assert.deepEqual([...client.groups], [['a', false]]);
    socket().say(joined('a'));
    assert.deepEqual([...client.groups], [['a', true]]);
  });

  test('left before the join is answered stay left', async () => {
    const { client } = await start();
    socket().say(welcome('P0'));
    client.join('a');
    client.leave('a');
    socket().say(joined('a'), left('a'));
    assert.deepEqual([...client.groups], []);
  });

  test('that are refused are reported and removed', async () => {
    for (const code of ['too_many_groups', 'gateway_full', 'invalid_group']) {
      const { client, heard } = await start({ groups: ['a'] });
      socket().say(welcome('P0'));
      client.join('b');
      client.join('c');
      socket().say({ type: 'error', code, message: 'full', group: 'b' });
      assert.deepEqual([...client.groups], [['a', true], ['c', false]]);
      assert.deepEqual(heard.errors, [{ code, message: 'full', group: 'b' }]);
      socket().say({ type: 'error', code, message: 'full' });
      assert.deepEqual([...client.groups], [['a', true]]);
    }
  });

  test('have names of 1 to 255 bytes without control characters', async () => {
    const { client } = await start();
    for (const name of ['a', 'é'.repeat(127) + 'x', ' ', "<'&+%>", '😀']) {
      assert.equal(groupProblem(name), undefined, name);
      client.join(name);
    }
    for (const name of ['', 'é'.repeat(128), 'a\nb', '\u0000', '\u0085', '\ud83d', undefined, 7, null]) {
      assert.throws(() => client.join(name), { name: 'TypeError', message: groupProblem(name) }, String(name));
    }
    assert.equal(groupProblem('é'.repeat(128)), 'A group name has at most 255 bytes; this one has 256.');
    assert.equal(client.groups.size, 5);
  });

  test('are at most 100', async () => {
    const { client } = await start({ groups: Array.from({ length: 100 }, (_, index) => `${index}`) });
    client.join('7');
    assert.throws(() => client.join('more'), RangeError);
    client.leave('7');
    client.join('more');
  });
});

describe('groups that do not fit into the URL', () => {
  test('are joined by message after the welcome, from the same position', async () => {
    const { client } = await start({ groups: many });
    assert.ok(socket().url.length <= 4_000 && socket().url.length > 3_700, `${socket().url.length}`);
    const inUrl = parameters('group');
    socket().say(welcome('P0'));
    assert.deepEqual(joinedByMessage(), many.slice(inUrl.length).map((group) => ({ type: 'join', group, since: 'P0' })));
    assert.deepEqual([...client.groups.values()], many.map((group) => inUrl.includes(group)));
    answerJoins();
    assert.ok([...client.groups.values()].every(Boolean));
  });

  test('hold the position until the last one is answered', async () => {
    const { client, contents } = await start({ groups: many });
    socket().say(welcome('P0'), event('P5'), { type: 'position', id: 'P6' });
    answerJoins(behind);
    socket().say(event('P7', lastBehind), event('P2', behind));
    assert.equal(client.position, 'P0');
    socket().say(joined(behind));
    assert.equal(client.position, 'P0');
    socket().say(event('P8'));
    assert.equal(client.position, 'P8');
    assert.deepEqual(contents(), ['at P5', 'at P7', 'at P2', 'at P8']);
  });

  test('let the position move with the event after the last answer', async () => {
    const { client, contents } = await start({ groups: many });
    socket().say(welcome('P0'), event('P5'), event('P2', behind));
    answerJoins();
    assert.equal(client.position, 'P0');
    // Again under its id, only to show that the client has forgotten it.
    socket().say({ type: 'position', id: 'P5' }, event('P5', undefined, 'forgotten'));
    assert.equal(client.position, 'P5');
    reconnect();
    assert.deepEqual(parameters('since'), ['P5']);
    assert.deepEqual(contents(), ['at P5', 'at P2', 'forgotten']);
  });

  test('continue from their own positions after a lost connection', async () => {
    const { client, contents } = await start({ groups: many });
    socket().say(welcome('P0'), event('P5', ahead), event('P2', behind));
    answerJoins(behind, lastBehind);
    socket().say(event('P6'));
    reconnect();
    // The stream stands at P6, and all groups of the first URL with it.
    assert.deepEqual(parameters('since'), ['P6']);
    assert.ok(!parameters('group').includes(behind) && !parameters('group').includes(lastBehind));
    assert.equal(client.position, 'P0');
    socket().say(welcome('P6', { recovered: true }));
    const since = Object.fromEntries(joinedByMessage().map((join) => [join.group, join.since]));
    assert.deepEqual([since[behind], since[lastBehind]], ['P2', 'P0']);
    socket().say(event('P3', behind), event('P1', lastBehind));
    answerJoins();
    socket().say(event('P7', lastBehind));
    assert.deepEqual(contents(), [5, 2, 6, 3, 1, 7].map((id) => `at P${id}`));
    assert.equal(client.position, 'P7');
  });

  test('that were answered without a later event continue where they were', async () => {
    const { client } = await start({ groups: many });
    socket().say(welcome('P0'), event('P5'), event('P6', behind));
    answerJoins();
    assert.equal(client.position, 'P0');
    reconnect();
    assert.deepEqual(parameters('since'), ['P5']);
    socket().say(welcome('P5', { recovered: true }));
    const since = Object.fromEntries(joinedByMessage().map((join) => [join.group, join.since]));
    assert.deepEqual([since[behind], since[lastBehind]], ['P6', 'P0']);
  });

  test('that have caught up are in the next URL if there is room', async () => {
    const { client, contents } = await start({ groups: many });
    socket().say(welcome('P0'), event('P2'), event('P4', behind));
    answerJoins();
    socket().say({ type: 'position', id: 'P4' });
    for (const group of many.slice(0, 15)) client.leave(group);
    reconnect();
    assert.deepEqual([parameters('since'), parameters('group')], [['P4'], many.slice(15)]);
    socket().say(welcome('P4', { recovered: true }), event('P5', behind));
    assert.deepEqual(contents(), ['at P2', 'at P4', 'at P5']);
  });

  test('do not delay events for this connection', async () => {
    const { contents } = await start({ groups: many });
    const own = (content) => ({ type: 'event', to: 'connection', content });
    socket().say(welcome('P0'), own('a'), own('b'));
    assert.deepEqual(contents(), ['a', 'b']);
  });

  test('that are left before their answer hold the position until `left` arrives', async () => {
    const { client, contents } = await start({ groups: many });
    socket().say(welcome('P0'));
    answerJoins(behind);
    client.leave(behind);
    socket().say(event('P5'), event('P1', behind));
    assert.equal(client.position, 'P0');
    socket().say(left(behind), event('P6'));
    assert.equal(client.position, 'P6');
    assert.deepEqual(contents(), ['at P5', 'at P6']);
  });

  test('that are refused no longer hold the position', async () => {
    const { client } = await start({ groups: many });
    socket().say(welcome('P0'));
    answerJoins(behind, lastBehind);
    socket().say({ type: 'error', code: 'gateway_full', message: 'full', group: behind }, event('P1'));
    assert.equal(client.position, 'P0');
    socket().say({ type: 'error', code: 'gateway_full', message: 'full' }, event('P2'));
    assert.equal(client.position, 'P2');
    assert.equal(client.groups.size, many.length - 2);
  });

  test('that are not recovered are reported as gaps of their own', async () => {
    const { heard } = await start({ groups: many, since: 'P0' });
    socket().say(welcome('P0', { recovered: true }), joined(behind, { recovered: false, reason: 'expired' }), joined(lastBehind, { recovered: true }));
    assert.deepEqual(heard.gaps, [{ reason: 'expired', position: 'P0', group: behind, resuming: true }]);
  });

  test('a join by the caller does not hold the position', async () => {
    const { client } = await start();
    socket().say(welcome('P0'));
    client.join('a');
    socket().say(event('P1'));
    assert.equal(client.position, 'P1');
  });

  test('keep their own positions through a gap and a lost connection', async () => {
    const { client, heard } = await start({ groups: many });
    socket().say(welcome('P0'), event('P2', behind), { type: 'gap', reason: 'expired', position: 'P9' });
    assert.deepEqual(heard.gaps, [{ reason: 'expired', position: 'P9', resuming: false }]);
    assert.equal(client.position, 'P9');
    reconnect();
    assert.deepEqual(parameters('since'), ['P9']);
    socket().say(welcome('P9', { recovered: true }));
    const since = Object.fromEntries(joinedByMessage().map((join) => [join.group, join.since]));
    assert.deepEqual([since[behind], since[lastBehind]], ['P2', 'P0']);
  });

  test('are joined again when a gap begins a new log', async () => {
    const { client, contents } = await start({ groups: many });
    socket().say(welcome('P0'));
    answerJoins(behind);
    socket().sent = [];
    socket().say({ type: 'gap', reason: 'epoch_changed', position: 'Q0' });
    assert.deepEqual(socket().sent, [{ type: 'leave', group: behind }, { type: 'join', group: behind, since: 'Q0' }]);
    // The answer to the first join was already on its way, so the group was live for a moment.
    socket().say(joined(behind, { recovered: false, reason: 'epoch_changed' }), event('Q2', behind), left(behind));
    socket().say(event('Q1', behind), event('Q2', behind), joined(behind, { recovered: true }), { type: 'position', id: 'Q2' });
    assert.deepEqual(contents(), ['at Q1', 'at Q2']);
    assert.deepEqual([client.position, client.groups.get(behind)], ['Q2', true]);
  });

  test('begin where the stream does after the welcome of a new log', async () => {
    await start({ groups: many });
    socket().say(welcome('P0'), event('P2', behind));
    reconnect();
    socket().say(welcome('Q0', { recovered: false, reason: 'epoch_changed' }));
    assert.ok(joinedByMessage().every(({ since }) => since === 'Q0'));
  });
});

describe('a callback that throws', () => {
  test('does no harm, and its error is reported', async () => {
    const reported = [];
    globalThis.reportError = (error) => reported.push(error.message);
    try {
      const fail = (name) => () => { throw new Error(name); };
      const { client, heard } = await start({ onState: fail('state'), onEvent: fail('event'), onGap: fail('gap'), onError: fail('error') });
      socket().say(welcome('P0'), event('P1'), { type: 'gap', reason: 'expired', position: 'P2' }, { type: 'error', code: 'x', message: '' });
      client.join('a');
      socket().say(joined('a'), event('P3'));
      reconnect();
      assert.deepEqual(parameters('since'), ['P3']);
      assert.deepEqual(heard.groups.at(-1), new Map([['a', false]]));
      assert.deepEqual(reported, ['state', 'state', 'event', 'gap', 'error', 'event', 'state', 'state']);
    } finally {
      delete globalThis.reportError;
    }
  });

  test('has its error thrown in a microtask where there is no reportError', async () => {
    const tasks = [];
    const { client } = await start({ onEvent: () => { throw new Error('event'); } });
    mock.method(globalThis, 'queueMicrotask', (task) => tasks.push(task));
    socket().say(welcome('P0'), event('P1'));
    assert.equal(client.position, 'P1');
    assert.equal(tasks.length, 1);
    assert.throws(tasks[0], { message: 'event' });
  });
});
