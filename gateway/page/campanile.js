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
const SHORTEST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
/** A connection that lasted this long was no failure: the backoff starts anew. */
const STABLE_MS = 5_000;
/** Above the gateway's own limit for a greeting (10 s), so that its close code wins. */
const WELCOME_MS = 15_000;
/** A browser never reports a half-open socket: after this silence the gateway is asked for a sign of life .. */
const QUIET_MS = 20_000;
/** .. and given up after this much more. */
const ANSWER_MS = 10_000;
/** Close codes after which the gateway wants this client back at once. */
const COME_BACK_NOW = [1001, 4001];
/** Close codes after which it does not want it back: the same would happen again. */
const FINAL = [1002, 1003, 1007, 1008, 1009];
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
 * @property {number} [code] waiting, closed: the close code; 1006 if there was none
 * @property {string} [reason] waiting, closed: in words, may be empty; open: why it was not recovered
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
 * @property {string} [since] an earlier `position` to go on from
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
  /** Attempts that have failed in a row. */
  #failures = 0;
  #position;
  /** The groups that are wanted, each with whether the gateway has confirmed it on this connection. */
  #groups = new Map();
  /** The groups of this connection's URL. */
  #groupsInUrl = new Set();
  /**
   * Groups that did not fit into the URL, joined since the position and not answered yet.
   * Others may be ahead of them, so the position stands still while there are any.
   */
  #behind = new Set();
  /** Ids that were delivered while the position stood still: a resume would bring them again. */
  #delivered = new Set();
  /** On this connection no group is behind any more: each further id is beyond all the `#delivered`. */
  #hasCaughtUp = false;

  /**
   * Connects to one of several gateways of a cluster: a random one, and after a failure the next one.
   * Calls nothing back before the caller's own code has run to its end.
   *
   * @param {string | string[]} urls ws:, wss:, http: or https:
   * @param {Options} [options]
   * @throws {TypeError} for a URL or a group name that cannot be one, and where there is no WebSocket
   */
  constructor(urls, { groups = [], since, WebSocket = globalThis.WebSocket, ...callbacks } = {}) {
    if (typeof WebSocket !== 'function') {
      throw new TypeError('There is no WebSocket here. Pass one: new Campanile(urls, { WebSocket }), '
        + "for example with import WebSocket from 'ws'. Browsers, Deno, Bun and Node 22 have their own.");
    }
    this.#urls = [urls].flat().map(socketUrl);
    if (this.#urls.length === 0) throw new TypeError('Campanile needs the URL of a gateway.');
    this.#urlIndex = Math.floor(Math.random() * this.#urls.length);
    this.#WebSocket = WebSocket;
    this.#position = since ?? undefined;
    if (typeof groups === 'string') {
      throw new TypeError(`groups is the string ${JSON.stringify(groups)}: an array of names is accepted.`);
    }
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
    this.#send({ type: 'leave', group });
    this.#tellGroups();
  }

  /** Connects at once, instead of after the delay that it waits for; also a client that is closed. */
  connect() {
    if (this.#state === 'waiting' || this.#state === 'closed') this.#open();
  }

  close() {
    if (this.#state === 'closed') return;
    this.#drop();
    this.#become('closed', { code: 1000, reason: 'closed by this client' });
  }

  #open() {
    this.#drop();
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
    this.#timer = setTimeout(() => this.#lost(1006, 'no welcome in time'), WELCOME_MS);
    this.#become('connecting', { url });
  }

  /** The URL to connect to, and the groups that found room in it. */
  #target() {
    const groups = new Set();
    let url = this.#urls[this.#urlIndex];
    if (this.#position !== undefined) url = withParameter(url, 'since', this.#position);
    for (const group of this.#groups.keys()) {
      const longer = withParameter(url, 'group', group);
      if (longer.length > MAX_URL_CHARS) continue;
      groups.add(group);
      url = longer;
    }
    return [url, groups];
  }

  #lost(code, reason) {
    this.#drop();
    this.#urlIndex = (this.#urlIndex + 1) % this.#urls.length;
    if (FINAL.includes(code)) return this.#become('closed', { code, reason });
    const delay = backoff(code, this.#failures++);
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#become('waiting', { code, reason, delay });
  }

  /** Forgets the socket and all that was true of its connection only. */
  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#stableTimer);
    this.#behind.clear();
    this.#hasCaughtUp = false;
    for (const group of this.#groups.keys()) this.#groups.set(group, false);
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
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
    this.#expectSignOfLife();
    switch (message.type) {
      case 'welcome': return this.#welcome(message);
      case 'event': return this.#event(message);
      case 'position': return this.#moveTo(message.id, true);
      case 'gap': return this.#gap(message);
      case 'joined': return this.#joined(message);
      case 'left': return this.#left(message);
      case 'error': return this.#error(message);
      // A pong has said all by arriving. Other types are a newer gateway's.
    }
  }

  #expectSignOfLife() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#send({ type: 'ping' });
      this.#timer = setTimeout(() => this.#lost(1006, 'the gateway fell silent'), ANSWER_MS);
    }, QUIET_MS);
  }

  #welcome({ worker, connection, position, recovered, reason }) {
    this.#state = 'open';
    this.#stableTimer = setTimeout(() => (this.#failures = 0), STABLE_MS);
    if (recovered === false) this.#delivered.clear();
    this.#position = position;
    for (const group of this.#groupsInUrl) if (!this.#groups.has(group)) this.#send({ type: 'leave', group });
    for (const group of this.#groups.keys()) {
      if (this.#groupsInUrl.has(group)) {
        this.#groups.set(group, true);
      } else {
        this.#behind.add(group);
        this.#send({ type: 'join', group, since: position });
      }
    }
    this.#become('open', { url: this.#socket.url, address: { worker, connection }, recovered, reason });
    // A client that was closed by a callback says nothing more.
    if (recovered === false && this.#state !== 'closed') this.#call('onGap', { reason, position, resuming: true });
  }

  #event({ id, to, content }) {
    const isRepeated = this.#delivered.has(id);
    const isWanted = to?.group === undefined || this.#groups.has(to.group);
    if (id !== undefined) this.#moveTo(id, this.#hasCaughtUp);
    if (isRepeated || !isWanted) return;
    if (id !== undefined && this.#behind.size > 0) this.#delivered.add(id);
    this.#call('onEvent', { id, to, content });
  }

  #moveTo(position, isBeyondDelivered) {
    if (this.#behind.size > 0) return;
    this.#position = position;
    if (isBeyondDelivered) this.#delivered.clear();
  }

  #gap({ reason, position }) {
    this.#position = position;
    this.#delivered.clear();
    this.#call('onGap', { reason, position, resuming: false });
  }

  #joined({ group, recovered, reason }) {
    this.#isAnswered(group);
    // One that was left before the answer came will hear `left` too.
    if (!this.#groups.has(group)) return;
    this.#groups.set(group, true);
    this.#tellGroups();
    if (recovered === false && this.#state !== 'closed') {
      this.#call('onGap', { reason, position: this.#position, group, resuming: true });
    }
  }

  #left({ group }) {
    this.#isAnswered(group);
    if (!this.#groups.has(group)) return;
    // Joined again meanwhile: that answer is still to come.
    this.#groups.set(group, false);
    this.#tellGroups();
  }

  #error({ code, message, group }) {
    if (JOIN_FAILED.includes(code)) {
      // Without a name it may be any that waits for its answer.
      const failed = group === undefined ? [...this.#groups.keys()].filter((name) => !this.#groups.get(name)) : [group];
      for (const name of failed) {
        this.#groups.delete(name);
        this.#isAnswered(name);
      }
      this.#tellGroups();
    }
    if (this.#state !== 'closed') this.#call('onError', { code, message, group });
  }

  #isAnswered(group) {
    if (this.#behind.delete(group) && this.#behind.size === 0) this.#hasCaughtUp = true;
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
 * Milliseconds before the next attempt. Even "now" is spread, or all clients of a gateway that
 * shuts down would arrive at the next one together.
 */
function backoff(code, failures) {
  if (failures === 0 && COME_BACK_NOW.includes(code)) return Math.random() * SHORTEST_DELAY_MS;
  const ceiling = Math.min(LONGEST_DELAY_MS, SHORTEST_DELAY_MS * 2 ** (failures + 1));
  return SHORTEST_DELAY_MS + Math.random() * (ceiling - SHORTEST_DELAY_MS);
}

function parse(data) {
  const { content_base64: base64, ...message } = JSON.parse(data);
  if (base64 !== undefined) message.content = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  return message;
}
