// Run by: node --test gateway/page/*.test.mjs, with Node 18 or later.
// Groups that do not fit into the URL, with a gateway that has a log, a link that breaks and a network
// that cuts connections. The steps are random; CAMPANILE_SEED=N repeats a run.

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';

import { Campanile } from './campanile.js';
import { withClock } from './testing.mjs';

const RUNS = 1_000;
const STEPS = 80;
/** About five of these fit into a URL. */
const GROUPS = Array.from({ length: 8 }, (_, number) => `${number}${'é'.repeat(126)}`);
const EVERYONE = undefined;

let clock;

withClock((started) => {
  clock = started;
});

/** Mulberry32: numbers from 0 to 1 that depend only on the seed. */
function numbers(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The broker's log: the events in order, and how far each audience's events were dropped. */
class Log {
  epoch = 1;
  head = 0;
  events = [];
  #lost = new Map();

  publish(group) {
    this.head += 1;
    const event = { epoch: this.epoch, sequence: this.head, group };
    this.events.push(event);
    return event;
  }

  dropOldest(count) {
    for (const { group, sequence } of this.events.splice(0, count)) this.#lost.set(group, sequence);
  }

  beginAnew() {
    this.epoch += 1;
    this.head = 0;
    this.events = [];
    this.#lost.clear();
  }

  lostUpTo(group) {
    return this.#lost.get(group) ?? 0;
  }

  of(group, above, upTo) {
    return this.events.filter((event) => event.group === group && event.sequence > above && event.sequence <= upTo);
  }
}

const name = ({ epoch, sequence }) => `${epoch}-${sequence}`;

function parse(position) {
  const [epoch, sequence] = position.split('-').map(Number);
  return { epoch, sequence };
}

/** A gateway with one client, and everything that is on its way between the two. */
class Gateway {
  log = new Log();
  isLinked = true;
  /** How far the gateway has received the log. Without a link, it does not move. */
  cursor = { epoch: 1, sequence: 0 };
  connection = null;
  /** Events that need not arrive, because a gap was reported there. */
  excused = new Set();
  /** The positions of welcomes that were gaps. */
  beginnings = new Set();
  /** Every event, in the order of the log. */
  all = [];

  open(socket) {
    const { searchParams } = new URL(socket.url);
    this.connection = {
      socket, toClient: [], toGateway: [], isGreeted: false,
      listens: new Set([EVERYONE]), joins: [], url: searchParams,
    };
  }

  publish(group) {
    const event = this.log.publish(group);
    this.all.push(event);
    if (!this.isLinked) return;
    this.cursor = { epoch: event.epoch, sequence: event.sequence };
    if (this.connection?.isGreeted && this.connection.listens.has(group)) this.#sayEvent(event);
  }

  unlink() {
    this.isLinked = false;
  }

  link() {
    if (this.isLinked) return;
    this.isLinked = true;
    const { log, cursor } = this;
    const listens = this.connection?.isGreeted ? [...this.connection.listens] : [];
    // Other clients of the gateway may listen to any group.
    const lost = Math.max(...[EVERYONE, ...GROUPS].map((group) => log.lostUpTo(group)));
    const isAnew = cursor.epoch !== log.epoch;
    const from = isAnew ? lost : Math.max(lost, cursor.sequence);
    const reason = isAnew ? 'epoch_changed' : lost > cursor.sequence && 'expired';
    this.cursor = { epoch: log.epoch, sequence: log.head };
    if (!this.connection?.isGreeted) return;
    if (reason) {
      this.#excuse((event) => isOlder(event, log.epoch, from)
        && (isAnew || (listens.includes(event.group) && !isOlder(event, cursor.epoch, cursor.sequence))));
      this.#say({ type: 'gap', reason, position: name({ epoch: log.epoch, sequence: from }) });
    }
    for (const event of log.events) {
      if (event.sequence > from && this.connection.listens.has(event.group)) this.#sayEvent(event);
    }
  }

  /** Handles the client's next message. */
  hear() {
    const message = this.connection?.toGateway.shift();
    const { listens, joins } = this.connection ?? {};
    switch (message?.type) {
      case 'join':
        // After a welcome that is a gap, a group without its own position begins where the stream does.
        if (this.beginnings.has(message.since)) {
          const { epoch, sequence } = parse(message.since);
          this.#excuse((event) => event.group === message.group && isOlder(event, epoch, sequence));
        }
        assert.ok(!listens.has(message.group) && !joins.some(({ group }) => group === message.group), 'joined twice');
        return joins.push(message);
      case 'ping':
        return this.#say({ type: 'pong' });
      case 'leave':
        listens.delete(message.group);
        this.connection.joins = joins.filter(({ group }) => group !== message.group);
        return this.#say({ type: 'left', group: message.group });
    }
  }

  /** The broker confirms what the client listens to: all groups of the URL, or the next join. */
  confirm() {
    if (!this.connection || !this.isLinked) return;
    if (!this.connection.isGreeted) return this.#greet();
    const join = this.connection.joins.shift();
    if (!join) return;
    const { group, since } = join;
    const resumed = since === undefined ? {} : this.#resume(since, [group], true);
    this.connection.listens.add(group);
    this.#say({ type: 'joined', group, ...resumed });
    if (since !== undefined && this.connection.joins.length === 0) this.#say({ type: 'position', id: name(this.cursor) });
  }

  /** Some of the messages that are on their way to the client arrive. */
  arrive(count) {
    const connection = this.connection;
    for (const message of connection?.toClient.splice(0, count) ?? []) {
      if (this.connection === connection) connection.socket.onmessage?.({ data: JSON.stringify(message) });
    }
  }

  cut() {
    const socket = this.connection?.socket;
    this.connection = null;
    socket?.onclose?.({ code: 1006, reason: '' });
  }

  #greet() {
    const { url, listens } = this.connection;
    const groups = url.getAll('group');
    const since = url.get('since');
    for (const group of groups) listens.add(group);
    this.connection.isGreeted = true;
    const welcome = { type: 'welcome', worker: 0, connection: 1, position: name(this.cursor) };
    if (since === null) return this.#say(welcome);
    const before = this.connection.toClient.length;
    const resumed = this.#resume(since, [...listens]);
    if (resumed.recovered) welcome.position = since;
    else this.beginnings.add(welcome.position);
    this.connection.toClient.splice(before, 0, { ...welcome, ...resumed });
  }

  /** Events before a position in an older log are lost with that log, but not those since then in this one. */
  #resume(position, groups, isJoin = false) {
    const { log, cursor } = this;
    const since = parse(position);
    const inScope = (event) => groups.includes(event.group) && isOlder(event, cursor.epoch, cursor.sequence)
      && !(event.epoch === since.epoch && event.sequence <= since.sequence);
    const reason = since.epoch !== cursor.epoch || since.sequence > cursor.sequence ? 'epoch_changed'
      : groups.some((group) => log.lostUpTo(group) > since.sequence) && 'expired';
    if (reason) {
      const isLenient = !isJoin || reason === 'expired';
      this.#excuse((event) => inScope(event) && (isLenient || event.epoch < log.epoch));
      return { recovered: false, reason };
    }
    const missed = groups.flatMap((group) => log.of(group, since.sequence, cursor.sequence));
    missed.sort((a, b) => a.sequence - b.sequence).forEach((event) => this.#sayEvent(event));
    return { recovered: true };
  }

  #excuse(isMissing) {
    for (const event of this.all) if (isMissing(event)) this.excused.add(name(event));
  }

  #sayEvent(event) {
    const to = event.group === EVERYONE ? 'everyone' : { group: event.group };
    this.#say({ type: 'event', id: name(event), to, content: name(event) });
  }

  #say(message) {
    this.connection.toClient.push(message);
  }
}

const isOlder = (event, epoch, sequence) => event.epoch < epoch || (event.epoch === epoch && event.sequence <= sequence);

/** A client of a gateway, driven by random steps, and the checks of its callbacks. */
class Run {
  #random;
  #gateway = new Gateway();
  #client;
  #seen = new Set();
  #last = new Map();
  #gaps = [];
  #left = new Set();

  constructor(seed) {
    this.#random = numbers(seed);
    mock.method(Math, 'random', this.#random);
    this.#connect({ groups: GROUPS });
  }

  #connect(options) {
    const gateway = this.#gateway;
    class Socket {
      constructor(url) {
        this.url = url;
        gateway.open(this);
      }

      send(text) {
        gateway.connection?.toGateway.push(JSON.parse(text));
      }

      close() {
        if (gateway.connection?.socket === this) gateway.connection = null;
      }
    }
    this.#client = new Campanile('ws://a/', {
      ...options,
      WebSocket: Socket,
      onEvent: ({ id, to }) => this.#hear(id, to.group),
      onGap: (gap) => this.#gaps.push(gap),
    });
  }

  #hear(id, group) {
    assert.ok(!this.#seen.has(id), `${id} came twice`);
    this.#seen.add(id);
    const { epoch, sequence } = parse(id);
    const last = this.#last.get(group);
    assert.ok(!last || isOlder(last, epoch, sequence), `${id} came after ${last && name(last)}`);
    this.#last.set(group, { epoch, sequence });
  }

  #pick(count) {
    return Math.floor(this.#random() * count);
  }

  /** Connects the client. Events that are pushed from here on must arrive. */
  begin() {
    this.#gateway.confirm();
    this.#gateway.arrive(1);
  }

  step() {
    const gateway = this.#gateway;
    const draw = this.#random();
    if (draw < 0.3) gateway.publish([EVERYONE, ...GROUPS][this.#pick(GROUPS.length + 1)]);
    else if (draw < 0.45) gateway.hear();
    else if (draw < 0.6) gateway.confirm();
    else if (draw < 0.85) gateway.arrive(1 + this.#pick(4));
    else if (draw < 0.89) gateway.cut();
    else if (draw < 0.92) gateway.unlink();
    else if (draw < 0.96) gateway.link();
    else if (draw < 0.98) gateway.log.dropOldest(this.#pick(4));
    else if (draw < 0.985) this.#restartBroker();
    else this.#leaveOrJoin(GROUPS[this.#pick(GROUPS.length)]);
    clock.pass(this.#pick(2_000));
  }

  /** Starts a new log. The gateway loses its link, and gets it back later. */
  #restartBroker() {
    this.#gateway.unlink();
    this.#gateway.log.beginAnew();
  }

  /** Events of a group that was left may be missing, but none may come twice. */
  #leaveOrJoin(group) {
    this.#left.add(group);
    if (this.#client.groups.has(group)) this.#client.leave(group);
    else this.#client.join(group);
  }

  /** Lets everything that is on its way arrive, and checks that nothing is missing. */
  settle() {
    const gateway = this.#gateway;
    gateway.link();
    for (let turn = 0; turn < 200; turn += 1) {
      clock.pass(1_000);
      gateway.hear();
      gateway.confirm();
      gateway.arrive(100);
    }
    gateway.publish(EVERYONE);
    gateway.arrive(100);
    assert.ok([...this.#client.groups.values()].every(Boolean), 'not all groups are joined');
    assert.equal(this.#client.position, name(gateway.cursor), 'the position did not follow');
    const missing = gateway.all.filter(({ group }) => !this.#left.has(group)).map(name).filter((id) => !this.#seen.has(id));
    assert.deepEqual(missing.filter((id) => !gateway.excused.has(id)), [], 'lost without a gap');
    if (missing.length > 0) assert.ok(this.#gaps.length > 0, 'a gap was not reported');
    this.#client.close();
  }
}

test('each event comes once and in order while joins, gaps and cuts cross', async () => {
  const only = process.env.CAMPANILE_SEED;
  const seeds = only ? [Number(only)] : Array.from({ length: RUNS }, (_, seed) => seed);
  for (const seed of seeds) {
    const run = new Run(seed);
    await null;
    try {
      run.begin();
      for (let step = 0; step < STEPS; step += 1) run.step();
      run.settle();
    } catch (error) {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    }
  }
});
