/**
 * A client of Campanile: one websocket that reconnects by itself and continues where it was.
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
/** What a subprotocol begins with that is no protocol, but carries a token: a browser can send no other header. */
const TOKEN_PREFIX = 'base64url.bearer.campanile.';
const MAX_GROUPS = 100;
const MAX_GROUP_BYTES = 255;
/** Many proxies refuse a request head above 8 KiB, and its headers need room, too. */
const MAX_URL_CHARS = 4_000;
const MAX_LAST = 1_000;
/** After a close with 1001 or 4001, each client comes back at a random moment within this time. */
const SPREAD_MS = 500;
/** The upper bound of the first pause; the pause is a random part of it, half a second on average. */
const FIRST_CEILING_MS = 1_000;
/** The same after a close with 1013, if there is no other URL to try. */
const LATER_CEILING_MS = 5_000;
const LAST_CEILING_MS = 30_000;
/** A connection that lasted this long was not a failure, so the backoff starts over. */
const STABLE_MS = 5_000;
/** Longer than the gateway's own limit for a greeting (10 s), so that its close code arrives first. */
const WELCOME_MS = 15_000;
/** A browser never reports a half-open socket. After this much silence, the gateway gets a ping .. */
const QUIET_MS = 20_000;
/** .. and after this much more, the connection is given up. */
const ANSWER_MS = 10_000;
/** The same if there is a reason to doubt the connection, because the network or the page has come back. */
const HURRIED_ANSWER_MS = 4_000;
/** If there is such a reason, an attempt that has taken this long starts over at once. */
const LONG_ATTEMPT_MS = 2_000;
/** The pause before the caller is asked again for a token that it could not get. */
const TOKEN_PAUSE_MS = 5_000;
/** Close codes: the gateway wants this client back, but not now. */
const TRY_AGAIN_LATER = [1013, 4429];
/** Close code: the gateway does not accept the token, or wants one. */
const NO_VALID_TOKEN = 4401;
/** Close code: the token does not allow to connect, or to listen to a group. */
const NOT_ALLOWED = 4403;
/** Close codes after which the gateway wants this client back at once. */
const COME_BACK_NOW = [1001, 4001, NO_VALID_TOKEN];
/** Close codes after which it does not, because the same would happen again. */
const FINAL = [1002, 1003, 1007, 1008, 1009, NOT_ALLOWED];
const SILENCE = 'the gateway does not answer';
const CALLBACKS = ['onEvent', 'onState', 'onGap', 'onGroups', 'onError'];
/** The most publishes without an answer. A gateway accepts no more of one connection. */
const MAX_UNANSWERED = 64;
const MAX_ID_BYTES = 255;
/** The largest message that a gateway reads, by default. A larger one would end the connection for good. */
const MAX_MESSAGE_BYTES = 65_536;
/** A broker remembers an id for at least 2 minutes. The time on the way is less than the difference. */
const REPEATABLE_MS = 100_000;
/** Errors that are answers to a join. */
const JOIN_FAILED = ['too_many_groups', 'gateway_full', 'invalid_group', 'not_allowed', 'rate_limited'];
/** Those that are answers to something else if they name no group. */
const NEEDS_GROUP = ['not_allowed', 'rate_limited'];

/**
 * @typedef {object} CampanileEvent
 * @property {string} [id] its position; an event for this one connection has none
 * @property {'everyone' | 'connection' | {group: string} | {user: string}} to
 * @property {string | Uint8Array} content
 * @property {{user: string}} [from] the user whose client published it, if there is one
 *
 * @typedef {'connecting' | 'open' | 'waiting' | 'closed'} State
 *
 * @typedef {object} StateDetail
 * @property {string} [url] connecting, open: the URL of the websocket
 * @property {{worker: number, connection: number}} [address] open: the address of this connection, for pushes to it
 * @property {string} [user] open: the user that this client is
 * @property {boolean} [recovered] open, after a resume: whether all missed events follow
 * @property {{events: number, complete: boolean}} [history] open, if history was asked for: how many
 *   of the events that follow are history, and whether the log never had any others
 * @property {number} [code] waiting, closed: the close code, or 1006 if there was none. It is 1008 if the
 *   gateway refuses this client for good, 4403 if the token does not allow to connect, or to listen to one of the groups
 *   of the first connection, 4401 if there is no valid
 *   token and `token` is not a function that could return another one, and 1006 if it cannot be reached or has no room
 * @property {string} [reason] waiting, closed: the reason of the close or of the refusal, which may be
 *   empty. open: why missed events were not recovered
 * @property {number} [delay] waiting: milliseconds until the next attempt
 *
 * @typedef {object} Gap
 * @property {string} reason epoch_changed, expired, too_far or malformed
 * @property {string} position where the stream continues. For a group, it is the client's own `position`, which the gap does not change
 * @property {string} [group] the group that is affected, if it is only one
 * @property {boolean} resuming whether a resume failed. If not, the open connection has missed events
 *
 * @typedef {object} Options
 * @property {Iterable<string>} [groups] to listen to from the start
 * @property {string} [since] an earlier `position` to continue from, or 'first' for all events that are
 *   kept, oldest first. 'first' is for the groups that fit into the URL, and for the first connection only
 * @property {number} [last] instead of `since`: how many of the newest events to get, 1 to 1,000, on the first connection only
 * @property {string | (() => string | Promise<string>)} [token] says who the client is and what it may do. A
 *   function is called before the first connection, when a token is about to expire, and when the gateway does
 *   not accept one. It may take 15 s. A string lasts until it expires; then the client is closed with 4401
 * @property {typeof WebSocket} [WebSocket] for Node before 22, for example the one of the package ws
 * @property {(event: CampanileEvent) => void} [onEvent]
 * @property {(state: State, detail: StateDetail) => void} [onState]
 * @property {(gap: Gap) => void} [onGap] events may be missing between the last one and the next
 * @property {(groups: Map<string, boolean>) => void} [onGroups] called when `groups` may have changed
 * @property {(error: {code: string, message: string, group?: string}) => void} [onError]
 *   the gateway refused a message. If that was a join, its group has been removed from `groups`. The same
 *   happens with the code `not_allowed` if a new token no longer allows a group, on the open connection or on a later one. The code `no_token` means that
 *   the function `token` failed while the client was open; it is called again after 5 s
 */

/** A sentence that says why `name` cannot be a group; undefined if it can. */
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
  /** Returns a new token; undefined if the caller gave none, or a string. */
  #newToken;
  /** The token for the next connection; undefined if there is none, or none that the gateway would accept. */
  #token;
  /** Counts the connections and the attempts, so that a token that comes too late is told apart. */
  #attempt = 0;
  /** The user of the last welcome; null before the first one. */
  #user = null;
  /** @type {State} */
  #state = 'connecting';
  #socket = null;
  /** Runs out when the welcome, the next message or the next attempt is due, depending on the state. */
  #timer;
  #stableTimer;
  /** Whether the attempt to connect has already taken `LONG_ATTEMPT_MS`. */
  #isLate = false;
  /** Whether there has been a reason to doubt the connection since the last message. */
  #isHurried = false;
  /** Why the gateway refuses the attempt to connect, as it said before the close. */
  #refusal;
  /** The group that is the reason of this refusal; undefined if it is something else. */
  #refusedGroup;
  /** Whether there has been a welcome. Before the first one, a refusal is about what the caller asked for. */
  #wasOpen = false;
  /** How many attempts have failed in a row. */
  #failures = 0;
  /** The parameter that asks for history until there is a position: its name and its value. */
  #history;
  /** The position from which another client could continue with all groups. */
  #position;
  /** The position in the next URL. It holds for all groups except those in `#behind`. */
  #streamPosition;
  /** The groups that the caller wants, each one with whether the gateway has confirmed it on this connection. */
  #groups = new Map();
  /** The groups of this connection's URL. */
  #groupsInUrl = new Set();
  /**
   * Groups that did not fit into the URL, each one with the position from which it continues. A group
   * stays here until the stream has passed the events that were replayed for it.
   */
  #behind = new Map();
  /**
   * Groups that were joined with a position on this connection, and have no answer yet. Their events are
   * older than the stream. Each group has the number of `left` messages that come before the answer.
   */
  #catchingUp = new Map();
  /** How many `left` messages are still to come on this connection, per group. */
  #leaving = new Map();
  /** What was published and has no answer yet, by its `ref`, in order. */
  #publishes = new Map();
  #lastRef = 0;

  /**
   * Connects to one of several gateways of a cluster: first to a random one, and after a failure to the
   * next one. No callback runs before the caller's own code has finished.
   *
   * @param {string | string[]} urls ws:, wss:, http: or https:
   * @param {Options} [options]
   * @throws {TypeError} for an invalid URL, group name or option, and if there is no WebSocket
   * @throws {RangeError} for more than 100 groups
   */
  constructor(urls, options = {}) {
    const { groups, since, last, token, WebSocket = globalThis.WebSocket, ...callbacks } = checked(options);
    if (typeof WebSocket !== 'function') {
      throw new TypeError('There is no WebSocket here. Pass one: new Campanile(urls, { WebSocket }), '
        + "for example with import WebSocket from 'ws'. Browsers, Deno, Bun and Node 22 have their own.");
    }
    this.#urls = [urls].flat().map(socketUrl);
    if (this.#urls.length === 0) throw new TypeError('Campanile needs the URL of a gateway.');
    this.#urlIndex = Math.floor(Math.random() * this.#urls.length);
    this.#WebSocket = WebSocket;
    if (typeof token === 'function') this.#newToken = token;
    else this.#token = token;
    if (since === 'first') this.#history = ['since', since];
    else if (last !== undefined) this.#history = ['last', last];
    else this.#position = this.#streamPosition = since;
    for (const group of groups) this.join(group);
    // Not before the joins above: the caller does not have the client yet, so a callback could not use it.
    this.#callbacks = callbacks;
    queueMicrotask(() => {
      if (this.#state === 'connecting' && !this.#socket) this.#open();
    });
  }

  get state() {
    return this.#state;
  }

  /**
   * Where the stream stands: an opaque string, or undefined before the first welcome. Store it, and pass it
   * as `since` to another client, which then misses nothing. When `onEvent` is called, it includes that
   * event, except while groups that did not fit into the URL are catching up. Until then it stands still.
   */
  get position() {
    return this.#position;
  }

  /** A copy of the groups that this client should listen to, each one with whether the gateway does so now. */
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

  /** Stops listening to a group. None of its events is delivered after this call. */
  leave(group) {
    if (!this.#groups.delete(group)) return;
    this.#sendLeave(group);
    this.#tellGroups();
  }

  /**
   * Publishes to a group: now, or as soon as there is a connection. The gateway must allow it. The promise
   * resolves with the event's position when the event is accepted, and is rejected with an error that has a
   * `code`: that of the gateway, `unknown` if it is not known whether the event was accepted, or `unavailable`
   * if it was not sent. If the connection is lost before the answer, an event with an `id` is published again
   * after the next welcome, and is accepted only once; one without is rejected with `unknown`. So is one with
   * an `id` after 100 s, in a new log, and if the client has become another user.
   *
   * @param {string} group
   * @param {string | Uint8Array | ArrayBuffer} content
   * @param {{id?: string, echo?: boolean}} [options] `id`: the event's own name, for a client with a user;
   *   `echo: false`: this connection does not get the event, but one that resumes after it may
   * @returns {Promise<{position: string}>}
   * @throws {TypeError} for an invalid group name, content or option
   */
  publish(group, content, { id, echo } = {}) {
    const problem = groupProblem(group) ?? idProblem(id);
    if (problem) throw new TypeError(problem);
    if (echo !== undefined && typeof echo !== 'boolean') throw new TypeError('echo is true or false.');
    const ref = `${++this.#lastRef}`;
    const message = { type: 'publish', group, ...contentFields(content), id, ref, echo };
    const bytes = new TextEncoder().encode(JSON.stringify(message)).length;
    if (bytes > MAX_MESSAGE_BYTES) {
      const problem = `the message has ${bytes} bytes, but at most ${MAX_MESSAGE_BYTES} are accepted`;
      return Promise.reject(failure('too_large', problem));
    }
    if (this.#state === 'closed') return Promise.reject(failure('unavailable', 'this client is closed'));
    if (this.#publishes.size >= MAX_UNANSWERED) {
      return Promise.reject(failure('busy', `${MAX_UNANSWERED} publishes of this client have no answer yet`));
    }
    return new Promise((resolve, reject) => {
      const publish = { message, resolve, reject, sentAt: undefined, isRepeated: false };
      this.#publishes.set(ref, publish);
      this.#sendPublish(publish);
    });
  }

  /**
   * Connects now if this client is closed, waits for its next attempt, or has been connecting for more
   * than 2 s. If it is open, sends a ping, and starts over if the gateway does not answer within 4 s. In a
   * browser, a client that is not closed does the same by itself when the network, the page or its tab
   * comes back.
   */
  connect() {
    if (this.#state === 'closed') this.#open();
    else this.#hurry();
  }

  /** Ends the connection, the timers and the listeners of this client. `connect()` starts it again. */
  close() {
    if (this.#state === 'closed') return;
    this.#end({ code: 1000, reason: 'closed by this client' });
  }

  #open() {
    this.#drop();
    this.#listen(true);
    const [url, groups] = this.#target();
    this.#groupsInUrl = groups;
    this.#timer = setTimeout(() => {
      this.#isLate = true;
      this.#loseAfter(WELCOME_MS - LONG_ATTEMPT_MS, this.#socket ? 'no welcome in time' : 'no token in time');
    }, LONG_ATTEMPT_MS);
    const attempt = this.#attempt;
    const needsToken = this.#newToken && this.#token === undefined;
    if (!needsToken && !this.#dial(url)) return;
    this.#become('connecting', { url });
    // The callback may have closed the client.
    if (!needsToken || attempt !== this.#attempt) return;
    this.#fetchToken(() => this.#dial(url), (reason) => this.#lost(1006, reason));
  }

  /** Opens the websocket. Returns whether there is one now; if not, the attempt has failed. */
  #dial(url) {
    const token = this.#token === undefined ? [] : [TOKEN_PREFIX + base64url(this.#token)];
    try {
      this.#socket = new this.#WebSocket(url, token.length ? [SUBPROTOCOL, ...token] : SUBPROTOCOL);
    } catch (error) {
      // A page served over https may not open a ws: URL, for example.
      this.#lost(1006, error.message);
      return false;
    }
    this.#socket.onmessage = ({ data }) => this.#receive(data);
    this.#socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    // An error is always followed by a close. Without a listener, the package ws would throw it.
    this.#socket.onerror = () => {};
    return true;
  }

  /** Asks the caller for a token. Nothing happens if the connection or the attempt has ended by then. */
  async #fetchToken(use, fail) {
    const attempt = this.#attempt;
    let failure;
    let token;
    try {
      token = await this.#newToken.call(undefined);
      if (typeof token !== 'string' || token === '') failure = 'the function token returned no string';
    } catch (error) {
      failure = `the function token failed: ${error?.message ?? error}`;
    }
    if (attempt !== this.#attempt) return;
    if (failure) return fail(failure);
    this.#token = token;
    use(token);
  }

  /** Sends a new token before the old one expires. */
  #renew() {
    // A string cannot be renewed. The gateway says so when it has expired.
    if (!this.#newToken) return;
    this.#fetchToken((token) => this.#send({ type: 'auth', token }), (message) => {
      const attempt = this.#attempt;
      setTimeout(() => {
        if (attempt === this.#attempt) this.#renew();
      }, TOKEN_PAUSE_MS);
      this.#call('onError', { code: 'no_token', message });
    });
  }

  /** The URL to connect to, and the groups that fit into it. */
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
    const isRefused = code === NO_VALID_TOKEN;
    if (isRefused && this.#newToken) this.#token = undefined;
    // A new token allows less than the one before. On an open connection the gateway would say the same by `left`.
    const group = code === NOT_ALLOWED && this.#wasOpen && this.#groupsInUrl.has(this.#refusedGroup) ? this.#refusedGroup : undefined;
    const isFinal = FINAL.includes(code) && group === undefined;
    if (isFinal || (isRefused && !this.#newToken)) return this.#end({ code, reason });
    this.#drop();
    const delay = pause(code, this.#failures++, this.#urls.length);
    this.#timer = setTimeout(() => this.#open(), delay);
    this.#state = 'waiting';
    if (group !== undefined) this.#removed(group, 'not_allowed', reason);
    // The callback may have closed the client, or connected it.
    if (this.#state === 'waiting') this.#become('waiting', { code, reason, delay });
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
    for (const { sentAt, reject } of this.#publishes.values()) {
      reject(sentAt !== undefined ? unknown() : failure('unavailable', 'this client was closed before it could publish'));
    }
    this.#publishes.clear();
    this.#become('closed', detail);
  }

  /** Drops the socket, and resets everything that belongs to its connection. */
  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#stableTimer);
    this.#attempt++;
    this.#isLate = this.#isHurried = false;
    this.#refusal = this.#refusedGroup = undefined;
    this.#catchingUp.clear();
    this.#leaving.clear();
    for (const group of this.#groups.keys()) this.#groups.set(group, false);
    for (const [ref, { message, sentAt, reject }] of this.#publishes) {
      if (sentAt === undefined || message.id !== undefined) continue;
      this.#publishes.delete(ref);
      reject(unknown());
    }
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  /** Starts or stops listening for events that say that the network or the page has come back. */
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

  /** Connects now, or checks the connection within `HURRIED_ANSWER_MS`. */
  #hurry() {
    if (this.#state === 'waiting' || this.#isLate) {
      if (this.#isLate) this.#nextUrl();
      this.#failures = 0;
      this.#open();
      // Such events come in groups. The next one must not shorten this new attempt.
      this.#isHurried = true;
    } else if (this.#socket && !this.#isHurried) {
      this.#isHurried = true;
      this.#send({ type: 'ping' });
      this.#loseAfter(HURRIED_ANSWER_MS, this.#state === 'open' ? SILENCE : 'no welcome in time');
    }
  }

  /** Sends a message if there is a connection. If there is none, the next welcome makes up for it. */
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
      case 'token': return this.#renew();
      case 'published': return this.#published(message);
      case 'error': return this.#error(message);
      // A pong needs no more than to arrive. Other types come from a newer gateway.
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

  #welcome({ worker, connection, position, user, recovered, reason, history }) {
    this.#state = 'open';
    this.#wasOpen = true;
    this.#stableTimer = setTimeout(() => (this.#failures = 0), STABLE_MS);
    // The positions of the old log mean nothing in the new one.
    if (reason === 'epoch_changed') this.#behind.clear();
    if (recovered === false || this.#behind.size === 0) this.#position = position;
    this.#streamPosition = position;
    for (const group of this.#groupsInUrl) if (!this.#groups.has(group)) this.#sendLeave(group);
    for (const group of this.#groups.keys()) {
      if (this.#groupsInUrl.has(group)) this.#groups.set(group, true);
      else this.#catchUp(group, this.#behind.get(group) ?? position);
    }
    this.#dropPublishes(reason, user);
    for (const publish of this.#publishes.values()) this.#sendPublish(publish);
    this.#become('open', { url: this.#socket.url, address: { worker, connection }, user, recovered, reason, history });
    // If a callback has closed the client, there are no more callbacks.
    if (recovered === false && this.#state !== 'closed') this.#call('onGap', { reason, position, resuming: true });
  }

  /** Rejects what must not be sent on a new connection, because it could be accepted twice, or for another user. */
  #dropPublishes(reason, user) {
    const isOther = this.#user !== null && this.#user !== user;
    this.#user = user;
    for (const [ref, { sentAt, reject }] of this.#publishes) {
      // The clock of the day goes on while a computer sleeps.
      const isOld = sentAt !== undefined && !(Date.now() - sentAt < REPEATABLE_MS);
      const isLost = sentAt !== undefined && reason === 'epoch_changed';
      if (!isOther && !isOld && !isLost) continue;
      this.#publishes.delete(ref);
      reject(sentAt === undefined ? failure('unavailable', 'this client has become another user') : unknown());
    }
  }

  #sendPublish(publish) {
    if (this.#state !== 'open') return;
    publish.isRepeated = publish.sentAt !== undefined;
    publish.sentAt ??= Date.now();
    this.#send(publish.message);
  }

  #published({ ref, position }) {
    this.#publishes.get(ref)?.resolve({ position });
    this.#publishes.delete(ref);
  }

  #notPublished({ ref, code, message }) {
    const publish = this.#publishes.get(ref);
    this.#publishes.delete(ref);
    // Why a repeat is refused says nothing about the first time, unless the id is another event's.
    publish?.reject(publish.isRepeated && code !== 'id_taken' ? unknown() : failure(code, message));
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

  #event({ id, to, content, from }) {
    const group = to?.group;
    const leaves = this.#catchingUp.get(group);
    // The group is being left and joined again, so this event will come once more after the join.
    if (leaves > 0) return;
    const isWanted = group === undefined || this.#groups.has(group);
    if (id !== undefined) {
      if (leaves === undefined) this.#moveTo(id);
      else if (isWanted) this.#behind.set(group, id);
    }
    if (isWanted) this.#call('onEvent', from === undefined ? { id, to, content } : { id, to, content, from });
  }

  /** Moves the position of the stream, and of the groups that have caught up with it. */
  #moveTo(position) {
    this.#streamPosition = position;
    for (const group of this.#behind.keys()) if (!this.#catchingUp.has(group)) this.#behind.delete(group);
    if (this.#behind.size === 0) this.#position = position;
  }

  /**
   * The stream continues from another position. Groups that are catching up keep their own positions,
   * except in a new log, where they begin where the stream does.
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
    // If the group was left before this answer came, a `left` will follow.
    if (!this.#groups.has(group)) return;
    this.#groups.set(group, true);
    this.#tellGroups();
    if (recovered === false && this.#state !== 'closed') {
      this.#call('onGap', { reason, position: this.#position, group, resuming: true });
    }
  }

  #left({ group, reason }) {
    if (reason !== undefined) return this.#removed(group, reason);
    const due = this.#leaving.get(group) - 1;
    if (due > 0) this.#leaving.set(group, due);
    else this.#leaving.delete(group);
    const leaves = this.#catchingUp.get(group);
    if (leaves > 0) return this.#catchingUp.set(group, leaves - 1);
    this.#catchingUp.delete(group);
    if (!this.#groups.has(group)) return;
    // It was joined again in the meantime, and that answer is still to come.
    this.#groups.set(group, false);
    this.#tellGroups();
  }

  /** The gateway has taken the client out of a group. A `left` that this client has asked for still comes. */
  #removed(group, code, message = 'the gateway has removed this client from the group') {
    this.#catchingUp.delete(group);
    this.#behind.delete(group);
    if (!this.#groups.delete(group)) return;
    this.#tellGroups();
    if (this.#state === 'closed') return;
    this.#call('onError', { code, message, group });
  }

  #error({ code, message, group, ref }) {
    // An error before the welcome says why the gateway refuses the connection, which it then closes.
    if (this.#state === 'connecting') {
      [this.#refusal, this.#refusedGroup] = [message, group];
      return;
    }
    if (ref !== undefined) return this.#notPublished({ ref, code, message });
    // A message was not read, and which one is not known. On a new connection, all of them are made up for.
    if (code === 'rate_limited' && group === undefined) return this.#lost(TRY_AGAIN_LATER[1], message);
    // An error that is no answer to a join has no group, or another code.
    if (JOIN_FAILED.includes(code) && !(NEEDS_GROUP.includes(code) && group === undefined)) {
      // Without a name, it may be any of the groups that wait for an answer.
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
    // The callback may have caused a later state, which has already been reported.
    if (this.#state === state && this.#socket === socket) this.#tellGroups();
  }

  #tellGroups() {
    this.#call('onGroups', this.groups);
  }

  /** Calls back. An error of a callback is reported like one of an event listener, and changes nothing else. */
  #call(name, ...details) {
    try {
      this.#callbacks?.[name]?.(...details);
    } catch (error) {
      if (globalThis.reportError) globalThis.reportError(error);
      else queueMicrotask(() => { throw error; });
    }
  }
}

/** Checks the options and fills in their defaults. */
function checked({ groups = [], since, last, token, WebSocket, ...callbacks }) {
  const problem = (name, value, accepted) => {
    const shown = typeof value === 'function' ? 'a function' : JSON.stringify(value) ?? String(value);
    throw new TypeError(`${name} is ${shown}: ${accepted}`);
  };
  // A storage returns null for an item that it does not have.
  [since, last, token] = [since ?? undefined, last ?? undefined, token ?? undefined];
  if (typeof groups === 'string' || typeof groups?.[Symbol.iterator] !== 'function') {
    problem('groups', groups, 'an array of names is accepted.');
  }
  if (since !== undefined && (typeof since !== 'string' || since === '')) {
    problem('since', since, "a position, which is a string, or 'first' is accepted.");
  }
  if (last !== undefined && !(Number.isInteger(last) && last >= 1 && last <= MAX_LAST)) {
    problem('last', last, `a whole number from 1 to ${MAX_LAST} is accepted.`);
  }
  if (token === '' || !['undefined', 'string', 'function'].includes(typeof token)) {
    // What was given may be a secret that only has the wrong form.
    throw new TypeError('token is accepted as a string, or as a function that returns one or a promise of one.');
  }
  if (since !== undefined && last !== undefined) {
    throw new TypeError('since and last are both given: one of them is accepted.');
  }
  for (const [name, value] of Object.entries(callbacks)) {
    if (!CALLBACKS.includes(name)) {
      throw new TypeError(`There is no option ${name}: groups, since, last, token, WebSocket, ${CALLBACKS.join(', ')} are accepted.`);
    }
    if (value !== undefined && value !== null && typeof value !== 'function') problem(name, value, 'a function is accepted.');
  }
  return { groups, since, last, token, WebSocket, ...callbacks };
}

/** A sentence that says why `id` cannot be the name of a publish; undefined if it can, or if there is none. */
function idProblem(id) {
  if (id === undefined) return;
  if (typeof id !== 'string') return 'An id is a string.';
  const bytes = new TextEncoder().encode(id).length;
  if (bytes === 0 || bytes > MAX_ID_BYTES) return `An id has 1 to ${MAX_ID_BYTES} bytes; this one has ${bytes}.`;
  if (/\p{Cc}|\p{Cs}/u.test(id)) return 'An id cannot contain control characters or half a surrogate pair.';
}

/** The field with the content of a publish. */
function contentFields(content) {
  if (typeof content === 'string') return { content };
  if (!(content instanceof ArrayBuffer || ArrayBuffer.isView(content))) {
    throw new TypeError('A content is a string, or bytes: a Uint8Array or an ArrayBuffer.');
  }
  const bytes = content instanceof ArrayBuffer
    ? new Uint8Array(content)
    : new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
  let chars = '';
  for (const byte of bytes) chars += String.fromCharCode(byte);
  return { content_base64: btoa(chars) };
}

const failure = (code, message) => Object.assign(new Error(message), { code });

const unknown = () => failure('unknown', 'it is unknown whether the event was accepted: publish it again with the same id '
  + '(without an id, it may come twice)');

/** The websocket address of a gateway; in a browser `url` may be relative to the page. */
function socketUrl(url) {
  let parsed;
  try {
    parsed = new URL(url, globalThis.location?.href);
  } catch {
    throw new TypeError(`${JSON.stringify(String(url))} is not a URL: a ws:, wss:, http: or https: URL is accepted.`);
  }
  parsed.protocol = parsed.protocol.replace('http', 'ws');
  if (!/^wss?:$/.test(parsed.protocol)) throw new TypeError(`${url} is not a ws:, wss:, http: or https: URL.`);
  parsed.hash = '';
  return parsed.href;
}

const base64url = (text) => btoa(String.fromCharCode(...new TextEncoder().encode(text)))
  .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

const withParameter = (url, name, value) => `${url}${url.includes('?') ? '&' : '?'}${name}=${encodeURIComponent(value)}`;

/**
 * Milliseconds before the next attempt: a random part of an upper bound, which doubles each time that all
 * URLs have failed. Even "at once" is spread over some time, or all clients of a gateway that shuts down
 * would arrive at the next one together.
 */
function pause(code, failures, urls) {
  if (failures === 0 && COME_BACK_NOW.includes(code)) return Math.random() * SPREAD_MS;
  const first = TRY_AGAIN_LATER.includes(code) && urls === 1 ? LATER_CEILING_MS : FIRST_CEILING_MS;
  return Math.random() * Math.min(LAST_CEILING_MS, first * 2 ** Math.floor(failures / urls));
}

function parse(data) {
  const { content_base64: base64, ...message } = JSON.parse(data);
  if (base64 !== undefined) message.content = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  return message;
}
