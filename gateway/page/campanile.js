/**
 * A client of Campanile: one websocket that comes back by itself and goes on where it ended.
 * One file without dependencies, for browsers and Node: import it from a gateway, or copy it.
 *
 *     import { Campanile } from 'https://push.example/campanile.js';
 *
 *     const campanile = new Campanile('https://push.example', {
 *       groups: ['news'],
 *       onEvent: ({ to, content }) => console.log(to, content),
 *       onGap: ({ reason }) => console.warn('events may be missing:', reason),
 *     });
 *     campanile.join('eu');
 *
 * @module
 */

const SUBPROTOCOL = 'campanile.v1';
const MAX_GROUPS = 100;
const MAX_GROUP_BYTES = 255;
/** Many proxies refuse a request head above 8 KiB, and its headers need their share. */
const MAX_URL_CHARS = 4_000;
const MAX_LAST = 1_000;
/** Clients that a gateway sends away come back spread over this. */
const SPREAD_MS = 500;
/** The ceiling of the first pause; the pause is a random part of it, half a second on average. */
const FIRST_CEILING_MS = 1_000;
/** The same after a close with 1013, if there is no other URL to go to. */
const LATER_CEILING_MS = 5_000;
const LAST_CEILING_MS = 30_000;
/** A connection that lasted this long was no failure: the backoff starts anew. */
const STABLE_MS = 5_000;
/** Above the gateway's own limit for a greeting (10 s), so that its close code wins. */
const WELCOME_MS = 15_000;
/** A browser never reports a half-open socket: after this silence the gateway is asked for a sign of life .. */
const QUIET_MS = 20_000;
/** .. and given up after this much more. */
const ANSWER_MS = 10_000;
/** The same when there is a reason to doubt the connection: the network or the page has come back. */
const HURRIED_ANSWER_MS = 4_000;
/** For such a reason, an attempt that has taken this long starts over at once. */
const LONG_ATTEMPT_MS = 2_000;
/** Close code: the gateway wants this client back, but not now. */
const TRY_AGAIN_LATER = 1013;
/** Close codes after which the gateway wants this client back at once. */
const COME_BACK_NOW = [1001, 4001];
/** Close codes after which it does not want it back: the same would happen again. */
const FINAL = [1002, 1003, 1007, 1008, 1009];
const SILENCE = 'the gateway fell silent';
const CALLBACKS = ['onEvent', 'onState', 'onGap', 'onGroups', 'onError'];
/** Errors that answer a join. */
const JOIN_FAILED = ['too_many_groups', 'gateway_full', 'invalid_group'];

/**
 * @typedef {object} CampanileEvent
 * @property {string} [id] its position; an event for this one connection has none
 * @property {'everyone' | 'connection' | {group: string}} to
 * @property {string | Uint8Array} content
 *
 * @typedef {'connecting' | 'open' | 'waiting' | 'closed'} State
 *
 * @typedef {object} StateDetail
 * @property {string} [url] connecting, open: where to
 * @property {{worker: number, connection: number}} [address] open: where a push to this connection goes
 * @property {boolean} [recovered] open, after a resume: whether all that was missed follows
 * @property {{events: number, complete: boolean}} [history] open, if history was asked for: how many
 *   of the events that follow are history, and whether that is all that was asked for
 * @property {number} [code] waiting, closed: the close code; 1006 if there was none. A gateway that
 *   refuses this client for good closes with 1008; one that cannot be reached, or has no room, gives 1006
 * @property {string} [reason] waiting, closed: in words, may be empty; why the gateway refused this
 *   client, where it did. open: why it was not recovered
 * @property {number} [delay] waiting: milliseconds until the next attempt
 *
 * @typedef {object} Gap
 * @property {string} reason epoch_changed, expired, too_far or malformed
 * @property {string} position where the stream goes on; for a group, the client's own `position`, which the gap leaves as it is
 * @property {string} [group] the only group that is affected, if it is one
 * @property {boolean} resuming whether a resume found it; else it happened to the open connection
 *
 * @typedef {object} Options
 * @property {Iterable<string>} [groups] to listen to from the start
 * @property {string} [since] an earlier `position` to go on from, or 'first' for all events that are
 *   kept, oldest first: those of the groups in the URL, at the first connection only
 * @property {number} [last] instead of `since`: the newest events, 1 to 1,000, at the first connection only
 * @property {typeof WebSocket} [WebSocket] for Node before 22, say that of the package ws
 * @property {(event: CampanileEvent) => void} [onEvent]
 * @property {(state: State, detail: StateDetail) => void} [onState]
 * @property {(gap: Gap) => void} [onGap] events may be missing between the last one and the next
 * @property {(groups: Map<string, boolean>) => void} [onGroups] `groups` may have changed
 * @property {(error: {code: string, message: string, group?: string}) => void} [onError]
 *   the gateway refused a message; a group whose join it refused is no longer among `groups`
 */

/** Why `name` cannot be a group, as a sentence; undefined if it can. */
export function groupProblem(name) {
  if (typeof name !== 'string') return 'A group name is a string.';
  const bytes = new TextEncoder().encode(name).length;
  if (bytes === 0) return 'A group needs a name.';
  if (bytes > MAX_GROUP_BYTES) return `A group name has at most ${MAX_GROUP_BYTES} bytes; this one has ${bytes}.`;
  if (/\p{Cc}/u.test(name)) return 'A group name cannot contain control characters.';
  if (/\p{Cs}/u.test(name)) return 'A group name cannot contain half a surrogate pair.';
}

export class Campanile {
  #urls;
  #urlIndex;
  #WebSocket;
  #callbacks;
  /** @type {State} */
  #state = 'connecting';
  #socket = null;
  /** What the state waits for: the welcome, a sign of life, the next attempt. */
  #timer;
  #stableTimer;
  /** The attempt to connect has taken long. */
  #isLate = false;
  /** There was a reason to doubt the connection since the last sign of life. */
  #isHurried = false;
  /** Why the gateway refuses the connection that is being made. */
  #refusal;
  /** Attempts that have failed in a row. */
  #failures = 0;
  /** What to ask for until there is a position: name and value of a parameter. */
  #history;
  /** Where a caller goes on with all groups. */
  #position;
  /** Where the next URL goes on, with all groups but those that are `#behind`. */
  #streamPosition;
  /** The groups that are wanted, each with whether the gateway has confirmed it on this connection. */
  #groups = new Map();
  /** The groups of this connection's URL. */
  #groupsInUrl = new Set();
  /**
   * Groups that did not fit into the URL, each with the position of its own that it goes on from.
   * One stays here until the stream has passed what was replayed of it.
   */
  #behind = new Map();
  /**
   * Groups whose join from a position this connection has not answered: what comes of them is older
   * than the stream. Each with how many `left` come before the answer.
   */
  #catchingUp = new Map();
  /** How many `left` this connection has yet to say of a group. */
  #leaving = new Map();

  /**
   * Connects to one of several gateways of a cluster: a random one, and after a failure the next one.
   * Calls nothing back before the caller's own code has run to its end.
   *
   * @param {string | string[]} urls ws:, wss:, http: or https:
   * @param {Options} [options]
   * @throws {TypeError} for a URL, a group name or an option that cannot be one, and where there is no WebSocket
   * @throws {RangeError} for more than 100 groups
   */
  constructor(urls, options = {}) {
    const { groups, since, last, WebSocket = globalThis.WebSocket, ...callbacks } = checked(options);
    if (typeof WebSocket !== 'function') {
      throw new TypeError('There is no WebSocket here. Pass one: new Campanile(urls, { WebSocket }), '
        + "for example with import WebSocket from 'ws'. Browsers, Deno, Bun and Node 22 have their own.");
    }
    this.#urls = [urls].flat().map(socketUrl);
    if (this.#urls.length === 0) throw new TypeError('Campanile needs the URL of a gateway.');
    this.#urlIndex = Math.floor(Math.random() * this.#urls.length);
    this.#WebSocket = WebSocket;
    if (since === 'first') this.#history = ['since', since];
    else if (last !== undefined) this.#history = ['last', last];
    else this.#position = this.#streamPosition = since;
    for (const group of groups) this.join(group);
    // From here on, as the caller cannot use a client that it does not have yet.
    this.#callbacks = callbacks;
    queueMicrotask(() => {
      if (this.#state === 'connecting' && !this.#socket) this.#open();
    });
  }

  get state() {
    return this.#state;
  }

  /**
   * Where the stream goes on: keep it, and pass it as `since` to another client, to miss nothing in between.
   * An opaque string; undefined before the first welcome. When `onEvent` is called it covers that event,
   * except while groups that did not fit into the URL are catching up: it stands still then.
   */
  get position() {
    return this.#position;
  }

  /** A copy of the groups that are wanted, each with whether the gateway listens for it now. */
  get groups() {
    return new Map(this.#groups);
  }

  /**
   * Listens to a group, now or as soon as there is a connection, and again after each reconnect.
   *
   * @throws {TypeError} unless it has 1 to 255 bytes of UTF-8 without control characters
   * @throws {RangeError} for more than 100 groups
   */
  join(group) {
    const problem = groupProblem(group);
    if (problem) throw new TypeError(problem);
    if (this.#groups.has(group)) return;
    if (this.#groups.size >= MAX_GROUPS) throw new RangeError(`A connection can join at most ${MAX_GROUPS} groups.`);
    this.#groups.set(group, false);
    this.#send({ type: 'join', group });
    this.#tellGroups();
  }

  /** No longer listens to a group: none of its events is delivered from here on. */
  leave(group) {
    if (!this.#groups.delete(group)) return;
    this.#sendLeave(group);
    this.#tellGroups();
  }

  /**
   * Connects now if this client is closed, waits for its next attempt, or has been connecting for
   * more than 2 s. If it is open, asks the gateway for a sign of life, and starts over if there is
   * none within 4 s. In a browser the client does the same by itself, unless it is closed, when the
   * network, the page or its tab comes back.
   */
  connect() {
    if (this.#state === 'closed') this.#open();
    else this.#hurry();
  }

  /** Ends the connection, the timers and the listeners of this client; `connect()` begins anew. */
  close() {
    if (this.#state === 'closed') return;
    this.#end({ code: 1000, reason: 'closed by this client' });
  }

  #open() {
    this.#drop();
    this.#listen(true);
    const [url, groups] = this.#target();
    this.#groupsInUrl = groups;
    try {
      this.#socket = new this.#WebSocket(url, SUBPROTOCOL);
    } catch (error) {
      // A page served over https may not open a ws: URL, for example.
      return this.#lost(1006, error.message);
    }
    this.#socket.onmessage = ({ data }) => this.#receive(data);
    this.#socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    // An error is always followed by a close. The package ws throws it where nobody listens.
    this.#socket.onerror = () => {};
    this.#timer = setTimeout(() => {
      this.#isLate = true;
      this.#loseAfter(WELCOME_MS - LONG_ATTEMPT_MS, 'no welcome in time');
    }, LONG_ATTEMPT_MS);
    this.#become('connecting', { url });
  }

  /** The URL to connect to, and the groups that found room in it. */
  #target() {
    const groups = new Set();
    let url = this.#urls[this.#urlIndex];
    if (this.#streamPosition !== undefined) url = withParameter(url, 'since', this.#streamPosition);
    else if (this.#history) url = withParameter(url, ...this.#history);
    for (const group of this.#groups.keys()) {
      const longer = withParameter(url, 'group', group);
      if (longer.length > MAX_URL_CHARS || this.#behind.has(group)) continue;
      groups.add(group);
      url = longer;
    }
    return [url, groups];
  }

  #lost(code, reason) {
    reason = this.#refusal ?? reason;
    this.#nextUrl();
    if (FINAL.includes(code)) return this.#end({ code, reason });
    this.#drop();
    const delay = pause(code, this.#failures++, this.#urls.length);
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#become('waiting', { code, reason, delay });
  }

  #nextUrl() {
    this.#urlIndex = (this.#urlIndex + 1) % this.#urls.length;
  }

  #loseAfter(delay, reason) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lost(1006, reason), delay);
  }

  #end(detail) {
    this.#drop();
    this.#listen(false);
    this.#become('closed', detail);
  }

  /** Forgets the socket and all that was true of its connection only. */
  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#stableTimer);
    this.#isLate = this.#isHurried = false;
    this.#refusal = undefined;
    this.#catchingUp.clear();
    this.#leaving.clear();
    for (const group of this.#groups.keys()) this.#groups.set(group, false);
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  /** Starts or stops listening for the network and the page to come back, where there are such events. */
  #listen(on) {
    const method = on ? 'addEventListener' : 'removeEventListener';
    for (const [target, type] of [[globalThis, 'online'], [globalThis, 'pageshow'], [globalThis.document, 'visibilitychange']]) {
      target?.[method]?.(type, this.#wake);
    }
  }

  #wake = ({ type, persisted }) => {
    const isBack = { online: true, pageshow: persisted, visibilitychange: globalThis.document?.visibilityState === 'visible' };
    if (isBack[type]) this.#hurry();
  };

  /** Finds out within `HURRIED_ANSWER_MS` whether there is a connection, or makes one. */
  #hurry() {
    if (this.#state === 'waiting' || this.#isLate) {
      if (this.#isLate) this.#nextUrl();
      this.#failures = 0;
      this.#open();
      // It is new: the next of the events that come together must not shorten it.
      this.#isHurried = true;
    } else if (this.#socket && !this.#isHurried) {
      this.#isHurried = true;
      this.#send({ type: 'ping' });
      this.#loseAfter(HURRIED_ANSWER_MS, this.#state === 'open' ? SILENCE : 'no welcome in time');
    }
  }

  /** Sends now or not at all: the next welcome makes up for it. */
  #send(message) {
    if (this.#state === 'open') this.#socket.send(JSON.stringify(message));
  }

  #receive(data) {
    let message;
    try {
      message = parse(data);
    } catch {
      return this.#lost(1006, 'not a message of campanile.v1');
    }
    if (this.#state === 'open' || message.type === 'welcome') this.#expectSignOfLife();
    switch (message.type) {
      case 'welcome': return this.#welcome(message);
      case 'event': return this.#event(message);
      case 'position': return this.#moveTo(message.id);
      case 'gap': return this.#gap(message);
      case 'joined': return this.#joined(message);
      case 'left': return this.#left(message);
      case 'error': return this.#error(message);
      // A pong has said all by arriving. Other types are a newer gateway's.
    }
  }

  #expectSignOfLife() {
    this.#isLate = this.#isHurried = false;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#send({ type: 'ping' });
      this.#loseAfter(ANSWER_MS, SILENCE);
    }, QUIET_MS);
  }

  #welcome({ worker, connection, position, recovered, reason, history }) {
    this.#state = 'open';
    this.#stableTimer = setTimeout(() => (this.#failures = 0), STABLE_MS);
    // Another log knows nothing of the positions of this one.
    if (reason === 'epoch_changed') this.#behind.clear();
    if (recovered === false || this.#behind.size === 0) this.#position = position;
    this.#streamPosition = position;
    for (const group of this.#groupsInUrl) if (!this.#groups.has(group)) this.#sendLeave(group);
    for (const group of this.#groups.keys()) {
      if (this.#groupsInUrl.has(group)) this.#groups.set(group, true);
      else this.#catchUp(group, this.#behind.get(group) ?? position);
    }
    this.#become('open', { url: this.#socket.url, address: { worker, connection }, recovered, reason, history });
    // A client that was closed by a callback says nothing more.
    if (recovered === false && this.#state !== 'closed') this.#call('onGap', { reason, position, resuming: true });
  }

  #catchUp(group, since) {
    this.#behind.set(group, since);
    this.#catchingUp.set(group, this.#leaving.get(group) ?? 0);
    this.#send({ type: 'join', group, since });
  }

  #sendLeave(group) {
    if (this.#state !== 'open') return;
    this.#leaving.set(group, (this.#leaving.get(group) ?? 0) + 1);
    this.#send({ type: 'leave', group });
  }

  #event({ id, to, content }) {
    const group = to?.group;
    const leaves = this.#catchingUp.get(group);
    // What comes of a group before it was left to join it anew comes again after that.
    if (leaves > 0) return;
    const isWanted = group === undefined || this.#groups.has(group);
    if (id !== undefined) {
      if (leaves === undefined) this.#moveTo(id);
      else if (isWanted) this.#behind.set(group, id);
    }
    if (isWanted) this.#call('onEvent', { id, to, content });
  }

  /** The stream is here; so are the groups that have caught up with it. */
  #moveTo(position) {
    this.#streamPosition = position;
    for (const group of this.#behind.keys()) if (!this.#catchingUp.has(group)) this.#behind.delete(group);
    if (this.#behind.size === 0) this.#position = position;
  }

  /**
   * The stream goes on elsewhere. Groups that are catching up do so from positions of their own,
   * except in another log, where they begin at the place where the stream does.
   */
  #gap({ reason, position }) {
    this.#moveTo(position);
    this.#position = position;
    if (reason === 'epoch_changed') {
      for (const group of this.#catchingUp.keys()) {
        if (!this.#groups.has(group)) continue;
        this.#sendLeave(group);
        this.#catchUp(group, position);
      }
    }
    this.#call('onGap', { reason, position, resuming: false });
  }

  #joined({ group, recovered, reason }) {
    if (this.#catchingUp.get(group) > 0) return;
    this.#catchingUp.delete(group);
    // One that was left before the answer came will hear `left` too.
    if (!this.#groups.has(group)) return;
    this.#groups.set(group, true);
    this.#tellGroups();
    if (recovered === false && this.#state !== 'closed') {
      this.#call('onGap', { reason, position: this.#position, group, resuming: true });
    }
  }

  #left({ group }) {
    const due = this.#leaving.get(group) - 1;
    if (due > 0) this.#leaving.set(group, due);
    else this.#leaving.delete(group);
    const leaves = this.#catchingUp.get(group);
    if (leaves > 0) return this.#catchingUp.set(group, leaves - 1);
    this.#catchingUp.delete(group);
    if (!this.#groups.has(group)) return;
    // Joined again meanwhile: that answer is still to come.
    this.#groups.set(group, false);
    this.#tellGroups();
  }

  #error({ code, message, group }) {
    // Before the welcome the gateway refuses the connection, and closes it.
    if (this.#state === 'connecting') return (this.#refusal = message);
    if (JOIN_FAILED.includes(code)) {
      // Without a name it may be any that waits for its answer.
      const failed = group === undefined ? [...this.#groups.keys()].filter((name) => !this.#groups.get(name)) : [group];
      for (const name of failed) {
        this.#groups.delete(name);
        this.#behind.delete(name);
        this.#catchingUp.delete(name);
      }
      this.#tellGroups();
    }
    if (this.#state !== 'closed') this.#call('onError', { code, message, group });
  }

  #become(state, detail) {
    this.#state = state;
    const socket = this.#socket;
    this.#call('onState', state, detail);
    // What the callback did may have told a later state already.
    if (this.#state === state && this.#socket === socket) this.#tellGroups();
  }

  #tellGroups() {
    this.#call('onGroups', this.groups);
  }

  /** What a callback throws is its own affair: reported like what an event listener throws. */
  #call(name, ...details) {
    try {
      this.#callbacks?.[name]?.(...details);
    } catch (error) {
      if (globalThis.reportError) globalThis.reportError(error);
      else queueMicrotask(() => { throw error; });
    }
  }
}

/** The options with their defaults. */
function checked({ groups = [], since, last, WebSocket, ...callbacks }) {
  const problem = (name, value, accepted) => {
    const shown = typeof value === 'function' ? 'a function' : JSON.stringify(value) ?? String(value);
    throw new TypeError(`${name} is ${shown}: ${accepted}`);
  };
  // What a storage does not have is null.
  [since, last] = [since ?? undefined, last ?? undefined];
  if (typeof groups === 'string' || typeof groups?.[Symbol.iterator] !== 'function') {
    problem('groups', groups, 'an array of names is accepted.');
  }
  if (since !== undefined && (typeof since !== 'string' || since === '')) {
    problem('since', since, "a position, which is a string, or 'first' is accepted.");
  }
  if (last !== undefined && !(Number.isInteger(last) && last >= 1 && last <= MAX_LAST)) {
    problem('last', last, `a whole number from 1 to ${MAX_LAST} is accepted.`);
  }
  if (since !== undefined && last !== undefined) {
    throw new TypeError('since and last are both given: one of them is accepted.');
  }
  for (const [name, value] of Object.entries(callbacks)) {
    if (!CALLBACKS.includes(name)) {
      throw new TypeError(`There is no option ${name}: groups, since, last, WebSocket, ${CALLBACKS.join(', ')} are accepted.`);
    }
    if (value !== undefined && value !== null && typeof value !== 'function') problem(name, value, 'a function is accepted.');
  }
  return { groups, since, last, WebSocket, ...callbacks };
}

/** The websocket address of a gateway; in a browser `url` may be relative to the page. */
function socketUrl(url) {
  let parsed;
  try {
    parsed = new URL(url, globalThis.location?.href);
  } catch {
    throw new TypeError(`${JSON.stringify(String(url))} is no URL: a ws:, wss:, http: or https: URL is accepted.`);
  }
  parsed.protocol = parsed.protocol.replace('http', 'ws');
  if (!/^wss?:$/.test(parsed.protocol)) throw new TypeError(`${url} is no ws:, wss:, http: or https: URL.`);
  parsed.hash = '';
  return parsed.href;
}

const withParameter = (url, name, value) => `${url}${url.includes('?') ? '&' : '?'}${name}=${encodeURIComponent(value)}`;

/**
 * Milliseconds before the next attempt: a random part of a ceiling that doubles with each time that
 * all URLs have failed. Even "now" is spread, or all clients of a gateway that shuts down would
 * arrive at the next one together.
 */
function pause(code, failures, urls) {
  if (failures === 0 && COME_BACK_NOW.includes(code)) return Math.random() * SPREAD_MS;
  const first = code === TRY_AGAIN_LATER && urls === 1 ? LATER_CEILING_MS : FIRST_CEILING_MS;
  return Math.random() * Math.min(LAST_CEILING_MS, first * 2 ** Math.floor(failures / urls));
}

function parse(data) {
  const { content_base64: base64, ...message } = JSON.parse(data);
  if (base64 !== undefined) message.content = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  return message;
}
