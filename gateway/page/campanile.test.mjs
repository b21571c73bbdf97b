// Run by: node --test gateway/page/*.test.mjs, with Node 18 or later.
// A scripted gateway and a clock that only moves when told to.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, mock, test } from 'node:test';

import { Campanile, groupProblem } from './campanile.js';

const SHORTEST = 500;
const LONGEST = 15_000;

/** Every socket that a client opened, the newest last. */
let sockets;
/** What Math.random answers. */
let random;

/** Stands in for the platform's timers. */
class Clock {
  #now = 0;
  #timers = new Map();
  #lastId = 0;

  setTimeout = (call, delay) => {
    // As in Node, none is due at once.
    this.#timers.set(++this.#lastId, { call, due: this.#now + Math.max(delay, 1) });
    return this.#lastId;
  };

  clearTimeout = (id) => {
    this.#timers.delete(id);
  };

  /** Goes on by so many milliseconds and calls what is due by then, in the order of time. */
  pass(milliseconds) {
    const end = this.#now + milliseconds;
    for (let next; (next = this.#firstUntil(end)) !== undefined;) {
      const { call, due } = this.#timers.get(next);
      this.#timers.delete(next);
      this.#now = due;
      call();
    }
    this.#now = end;
  }

  #firstUntil(end) {
    const due = [...this.#timers].filter(([, timer]) => timer.due <= end);
    return due.sort(([, a], [, b]) => a.due - b.due)[0]?.[0];
  }
}

const { setTimeout, clearTimeout } = globalThis;
let clock;

class FakeWebSocket {
  sent = [];
  isClosed = false;

  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.isClosed = true;
  }

  /** The gateway's part. */
  say(...messages) {
    for (const message of messages) this.onmessage?.({ data: JSON.stringify(message) });
  }

  end(code, reason = '') {
    this.onclose?.({ code, reason });
  }
}

const socket = () => sockets.at(-1);
const welcome = (position, more) => ({ type: 'welcome', worker: 5, connection: 7, position, ...more });
const event = (id, group, content = `at ${id}`) => ({ type: 'event', id, to: group ? { group } : 'everyone', content });
const joined = (group, more) => ({ type: 'joined', group, ...more });
const left = (group) => ({ type: 'left', group });
const parameters = (name) => new URL(socket().url).searchParams.getAll(name);
const joinedByMessage = () => socket().sent.filter(({ type }) => type === 'join');
const pass = (milliseconds) => clock.pass(milliseconds);

/** A client that has begun to connect, and lists of what it called back. */
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

/** Names of groups of which about nine fit into the URL. */
const longNames = (count) => Array.from({ length: count }, (_, index) => `${index}`.padStart(2, '0') + 'x'.repeat(250));
const many = longNames(20);
const ahead = many[0];
const [behind, lastBehind] = many.slice(-2);

/** Answers the joins by message of the current connection, but for some groups. */
const answerJoins = (...except) => {
  for (const { group } of joinedByMessage()) if (!except.includes(group)) socket().say(joined(group));
};

/** Loses the connection and makes the next attempt. */
function reconnect(code = 1006) {
  socket().end(code);
  pass(LONGEST);
}

beforeEach(() => {
  sockets = [];
  random = 0;
  mock.method(Math, 'random', () => random);
  clock = new Clock();
  globalThis.setTimeout = clock.setTimeout;
  globalThis.clearTimeout = clock.clearTimeout;
});

afterEach(() => {
  Object.assign(globalThis, { setTimeout, clearTimeout });
  mock.restoreAll();
});

describe('connecting', () => {
  test('speaks campanile.v1, tells its states and takes the position of the welcome', async () => {
    const { client, heard } = await start();
    assert.equal(client.position, undefined);
    assert.deepEqual([socket().url, socket().protocol], ['ws://a/', 'campanile.v1']);
    assert.equal(client.state, 'connecting');
    socket().say(welcome('P1'));
    assert.equal(client.state, 'open');
    assert.equal(client.position, 'P1');
    const detail = { url: 'ws://a/', address: { worker: 5, connection: 7 }, recovered: undefined, reason: undefined };
    assert.deepEqual(heard.states, [['connecting', { url: 'ws://a/' }], ['open', detail]]);
    assert.deepEqual(heard.gaps, []);
  });

  test('calls nothing back before the code that made the client is done', () => {
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

  test('http becomes ws, other parameters stay, a fragment goes', async () => {
    for (const [given, expected] of [
      ['http://a:4236', 'ws://a:4236/?group=g'],
      ['https://a/x?token=t#f', 'wss://a/x?token=t&group=g'],
      ['wss://a', 'wss://a/?group=g'],
    ]) {
      await start({ groups: ['g'] }, given);
      assert.equal(socket().url, expected);
    }
  });

  test('what can never work is refused at once, with a sentence', () => {
    assert.throws(() => new Campanile('ws://a/', { WebSocket: undefined }), { name: 'TypeError', message: /no WebSocket here.*from 'ws'/ });
    for (const urls of [[], 'ftp://a/', 'no url', ['ws://a/', 'mailto:b@c']]) {
      assert.throws(() => new Campanile(urls, { WebSocket: FakeWebSocket }), TypeError, String(urls));
    }
    assert.throws(() => new Campanile('ws://a/', { WebSocket: FakeWebSocket, groups: [''] }), TypeError);
    assert.throws(() => new Campanile('no url', { WebSocket: FakeWebSocket }), { name: 'TypeError', message: '"no url" is no URL: a ws:, wss:, http: or https: URL is accepted.' });
    assert.throws(() => new Campanile('ws://a/', { WebSocket: FakeWebSocket, groups: 'news' }), { name: 'TypeError', message: 'groups is the string "news": an array of names is accepted.' });
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
    const { heard } = await start({ WebSocket: Refusing });
    assert.deepEqual(heard.states, [['waiting', { code: 1006, reason: 'mixed content', delay: SHORTEST }]]);
    throws = false;
    pass(SHORTEST);
    assert.equal(sockets.length, 1);
  });

  test('a gateway that does not greet is given up', async () => {
    const { client } = await start();
    pass(14_999);
    assert.equal(client.state, 'connecting');
    pass(1);
    assert.equal(client.state, 'waiting');
    assert.ok(socket().isClosed);
    // The package ws throws errors, also of a socket that was closed, where nobody listens.
    socket().onerror();
  });
});

describe('events', () => {
  test('are handed out in order, and the position is that of the last one', async () => {
    const { client, heard } = await start({ onEvent: (event) => heard.events.push([client.position, event]) });
    socket().say(welcome('P0'), event('P1'), { type: 'event', id: 'P2', to: { group: 'g' }, content: 'unwanted' });
    client.join('g');
    socket().say(joined('g'), event('P3', 'g'));
    assert.deepEqual(heard.events, [
      ['P1', { id: 'P1', to: 'everyone', content: 'at P1' }],
      ['P3', { id: 'P3', to: { group: 'g' }, content: 'at P3' }],
    ]);
  });

  test('for this connection have no id and leave the position alone', async () => {
    const { client, heard } = await start();
    socket().say(welcome('P0'), { type: 'event', to: 'connection', content: 'a' }, { type: 'event', to: 'connection', content: 'a' });
    assert.deepEqual(heard.events, [1, 2].map(() => ({ id: undefined, to: 'connection', content: 'a' })));
    assert.equal(client.position, 'P0');
  });

  test('with binary content come as bytes', async () => {
    const { contents } = await start();
    socket().say(welcome('P0'), { type: 'event', id: 'P1', to: 'everyone', content_base64: 'AP+A' });
    socket().say({ type: 'event', id: 'P2', to: 'everyone', content_base64: '' });
    assert.deepEqual(contents(), [Uint8Array.of(0, 255, 128), new Uint8Array()]);
  });

  test('a position keeps a quiet client fresh', async () => {
    const { client, heard } = await start();
    socket().say(welcome('P0'), { type: 'position', id: 'P9' });
    assert.equal(client.position, 'P9');
    assert.deepEqual(heard.events, []);
  });

  test('a gap is told, and the stream goes on behind it', async () => {
    const { client, heard, contents } = await start();
    socket().say(welcome('P0'), event('P1'), { type: 'gap', reason: 'epoch_changed', position: 'Q0' });
    assert.equal(client.position, 'Q0');
    assert.deepEqual(heard.gaps, [{ reason: 'epoch_changed', position: 'Q0', resuming: false }]);
    socket().say(event('Q1'));
    assert.deepEqual(contents(), ['at P1', 'at Q1']);
    reconnect();
    assert.deepEqual(parameters('since'), ['Q1']);
  });

  test('unknown types are ignored, an unknown error is told', async () => {
    const { client, heard } = await start();
    socket().say(welcome('P0'), { type: 'news_of_2030' }, { type: 'error', code: 'malformed', message: 'no' });
    assert.deepEqual(heard.errors, [{ code: 'malformed', message: 'no', group: undefined }]);
    assert.equal(client.state, 'open');
  });

  test('what is no message of campanile.v1 ends the connection, not the program', async () => {
    const { client, heard } = await start();
    for (const data of ['workerID:1 connectionID:1 connected\n', 'null', '{"type":"event","content_base64":"*"}', new ArrayBuffer(1)]) {
      socket().onmessage({ data });
      assert.equal(client.state, 'waiting', String(data));
      pass(LONGEST);
    }
    assert.equal(heard.events.length, 0);
  });
});

describe('resuming', () => {
  test('goes on from the last position with all groups, and says that it is recovered', async () => {
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
    test(`that fails (${reason}) is a gap, and the stream begins anew`, async () => {
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
  for (const code of [1002, 1003, 1007, 1008, 1009]) {
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

  test('1001 again and again is no way around the backoff', async () => {
    const { heard } = await start();
    const delays = [1, 2, 3].map(() => {
      socket().say(welcome('P0'));
      socket().end(1001);
      pass(LONGEST);
      return heard.states.findLast(([state]) => state === 'waiting')[1].delay;
    });
    assert.deepEqual(delays, [0, SHORTEST, SHORTEST]);
  });

  for (const code of [1000, 1005, 1006, 1011, 1012, 1013, 4000]) {
    test(`${code} comes back after a while`, async () => {
      const { heard } = await start();
      socket().say(welcome('P0'));
      socket().end(code);
      assert.equal(heard.states.at(-1)[1].delay, SHORTEST);
      pass(SHORTEST - 1);
      assert.equal(sockets.length, 1);
      pass(1);
      assert.equal(sockets.length, 2);
    });
  }
});

describe('backoff', () => {
  const delaysOf = (heard) => heard.states.filter(([state]) => state === 'waiting').map(([, { delay }]) => delay);

  test('doubles its upper bound up to 15 s, and never goes below half a second', async () => {
    for (const [answer, expected] of [
      [0, [500, 500, 500, 500, 500, 500]],
      [0.5, [750, 1250, 2250, 4250, 7750, 7750]],
      [1, [1000, 2000, 4000, 8000, 15_000, 15_000]],
    ]) {
      random = answer;
      const { client, heard } = await start();
      for (let attempt = 0; attempt < 6; attempt++) reconnect();
      assert.deepEqual(delaysOf(heard), expected);
      client.close();
    }
  });

  test('starts anew only after a connection that lasted 5 s', async () => {
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
    assert.deepEqual(delaysOf(heard), [750, 1250, 2250, 750]);
  });

  test('connect() does not wait for its end, and connects once', async () => {
    const { client } = await start();
    client.connect();
    socket().end(1006);
    client.connect();
    assert.equal(client.state, 'connecting');
    client.connect();
    pass(LONGEST - 1);
    assert.equal(sockets.length, 2);
    socket().say(welcome('P0'));
    client.connect();
    assert.equal(sockets.length, 2);
  });
});

describe('several URLs', () => {
  const urls = ['ws://a/', 'ws://b/', 'ws://c/'];

  test('start at a random one and go on to the next one after a failure', async () => {
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
  test('is asked after 20 s of silence and given up 10 s later', async () => {
    const { client, heard } = await start();
    socket().say(welcome('P0'));
    pass(19_999);
    assert.deepEqual(socket().sent, []);
    pass(1);
    assert.deepEqual(socket().sent, [{ type: 'ping' }]);
    pass(9_999);
    assert.equal(client.state, 'open');
    pass(1);
    assert.deepEqual(heard.states.at(-1), ['waiting', { code: 1006, reason: 'the gateway fell silent', delay: SHORTEST }]);
    assert.ok(socket().isClosed);
  });

  test('is not seen where anything is heard', async () => {
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

  test('is not heard any more once it is given up', async () => {
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

describe('close()', () => {
  test('ends an open connection, a waiting one and one that connects, for good', async () => {
    for (const until of [() => {}, () => socket().say(welcome('P0')), () => socket().end(1006)]) {
      sockets = [];
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
      sockets = [];
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

  test('of the URL are confirmed by the welcome, and not any more when it is lost', async () => {
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
    pass(LONGEST);
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

  test('that are left are not heard any more, though the position goes on', async () => {
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

  test('that are refused are told and forgotten', async () => {
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

  test('hold the position until the last one is answered, and then it moves on', async () => {
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

  test('move the position on at the one that follows the last answer', async () => {
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

  test('lose nothing and repeat nothing when the connection is lost in between', async () => {
    const { client, contents } = await start({ groups: many });
    socket().say(welcome('P0'), event('P5', ahead), event('P2', behind));
    answerJoins(lastBehind);
    reconnect();
    assert.deepEqual(parameters('since'), ['P0']);
    socket().say(welcome('P0', { recovered: true }), event('P4'), event('P5', ahead), event('P6'));
    socket().say(event('P2', behind), event('P3', behind));
    // And once more: what came by then is known, too.
    reconnect();
    assert.deepEqual(parameters('since'), ['P0']);
    socket().say(welcome('P0', { recovered: true }), event('P4'), event('P5', ahead), event('P6'));
    socket().say(event('P1', lastBehind), event('P2', behind), event('P3', behind));
    answerJoins();
    socket().say(event('P7', lastBehind));
    assert.deepEqual(contents(), [5, 2, 4, 6, 3, 1, 7].map((id) => `at P${id}`));
    assert.equal(client.position, 'P7');
  });

  test('repeat nothing when all were answered and nothing has followed yet', async () => {
    const { contents } = await start({ groups: many });
    socket().say(welcome('P0'), event('P5'), event('P6', behind));
    answerJoins();
    reconnect();
    socket().say(welcome('P0', { recovered: true }), event('P5'), event('P6', behind));
    assert.deepEqual(contents(), ['at P5', 'at P6']);
  });

  test('repeat nothing when so many were left that the next URL holds the rest', async () => {
    const { client, contents } = await start({ groups: many });
    socket().say(welcome('P0'), event('P2'), event('P4', behind));
    socket().end(1006);
    for (const group of many.slice(0, 15)) client.leave(group);
    pass(LONGEST);
    socket().say(welcome('P0', { recovered: true }), event('P1', lastBehind), event('P2'));
    assert.equal(client.position, 'P2');
    reconnect();
    assert.deepEqual(parameters('since'), ['P2']);
    socket().say(welcome('P2', { recovered: true }), event('P3'), event('P4', behind), event('P5'));
    assert.deepEqual(contents(), [2, 4, 1, 3, 5].map((id) => `at P${id}`));
  });

  test('repeat nothing on a connection that has none of them, whatever was caught up before', async () => {
    const { client, contents } = await start({ groups: many });
    socket().say(welcome('P0'), event('P2'), event('P4', behind));
    answerJoins();
    socket().end(1006);
    for (const group of many.slice(0, 15)) client.leave(group);
    pass(LONGEST);
    socket().say(welcome('P0', { recovered: true }));
    client.join('by hand');
    socket().say(joined('by hand'), event('P1', lastBehind), event('P2'), event('P4', behind));
    assert.deepEqual(contents(), [2, 4, 1].map((id) => `at P${id}`));
  });

  test('cost no memory once the position has passed what they delivered', async () => {
    // A gateway never says an id again in earnest; here it shows that the client has forgotten it.
    for (const beyond of [event('P3'), { type: 'position', id: 'P3' }]) {
      const { client, contents } = await start({ groups: many });
      socket().say(welcome('P0'), event('P2', behind));
      answerJoins();
      socket().say(beyond, event('P2', behind, 'forgotten'));
      assert.deepEqual(contents().filter((content) => content !== 'at P3'), ['at P2', 'forgotten']);
      client.close();
    }
    const { client, contents } = await start({ groups: many });
    socket().say(welcome('P0'), event('P2', behind));
    socket().end(1006);
    for (const group of many.slice(0, 15)) client.leave(group);
    pass(LONGEST);
    socket().say(welcome('P0', { recovered: true }), { type: 'position', id: 'P3' }, event('P2', behind, 'forgotten'));
    assert.deepEqual(contents(), ['at P2', 'forgotten']);
  });

  test('do not concern events for this connection', async () => {
    const { contents } = await start({ groups: many });
    const own = (content) => ({ type: 'event', to: 'connection', content });
    socket().say(welcome('P0'), own('a'), own('b'));
    assert.deepEqual(contents(), ['a', 'b']);
  });

  test('that are left before their answer hold the position until that is certain', async () => {
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

  test('that are refused hold it no longer', async () => {
    const { client } = await start({ groups: many });
    socket().say(welcome('P0'));
    answerJoins(behind, lastBehind);
    socket().say({ type: 'error', code: 'gateway_full', message: 'full', group: behind }, event('P1'));
    assert.equal(client.position, 'P0');
    socket().say({ type: 'error', code: 'gateway_full', message: 'full' }, event('P2'));
    assert.equal(client.position, 'P2');
    assert.equal(client.groups.size, many.length - 2);
  });

  test('that are not recovered are a gap of their own', async () => {
    const { heard } = await start({ groups: many, since: 'P0' });
    socket().say(welcome('P0', { recovered: true }), joined(behind, { recovered: false, reason: 'expired' }), joined(lastBehind, { recovered: true }));
    assert.deepEqual(heard.gaps, [{ reason: 'expired', position: 'P0', group: behind, resuming: true }]);
  });

  test('a join by hand holds nothing', async () => {
    const { client } = await start();
    socket().say(welcome('P0'));
    client.join('a');
    socket().say(event('P1'));
    assert.equal(client.position, 'P1');
  });

  test('what was delivered before a gap is forgotten with it', async () => {
    for (const gap of [{ type: 'gap', reason: 'epoch_changed', position: 'P0' }, null]) {
      const { contents } = await start({ groups: many });
      socket().say(welcome('P0'), event('P1'));
      if (gap) socket().say(gap);
      reconnect();
      // Another epoch might give the same id to another event.
      socket().say(welcome('P0', gap ? { recovered: true } : { recovered: false, reason: 'epoch_changed' }), event('P1', undefined, 'another'));
      assert.deepEqual(contents(), ['at P1', 'another']);
    }
  });
});

describe('a callback that throws', () => {
  test('breaks nothing, and is reported', async () => {
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

  test('is thrown in a microtask where there is no reportError', async () => {
    const tasks = [];
    const { client } = await start({ onEvent: () => { throw new Error('event'); } });
    mock.method(globalThis, 'queueMicrotask', (task) => tasks.push(task));
    socket().say(welcome('P0'), event('P1'));
    assert.equal(client.position, 'P1');
    assert.equal(tasks.length, 1);
    assert.throws(tasks[0], { message: 'event' });
  });
});
