// The page of a gateway: one campanile.v1 connection, what arrives on it, and ways to push to it.
// Pure parts first (exported, so that a test can import them), then the connection, the list, the page.

const SUBPROTOCOL = 'campanile.v1';
const DEFAULT_PUBLISHER_PORT = 4237;
const SHORTEST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
/** After a connection that lasted this long, the backoff starts anew. */
const STABLE_MS = 5_000;
/** A browser never reports a half-open socket: a gateway that is silent between two pings is taken for lost. */
const PING_EVERY_MS = 20_000;
/** Above the publisher's own longest wait (30 s), so that its answer wins. */
const PUSH_TIMEOUT_MS = 35_000;
const MAX_GROUPS = 100;
const MAX_GROUP_BYTES = 255;
/** Many servers refuse a request head above 8 KiB, and other headers need their share. */
const MAX_GROUPS_IN_URL_CHARS = 4_000;
const MAX_SHOWN = 500;
/** Laying out 500 messages of a megabyte each would freeze the page. */
const MAX_SHOWN_CHARS = 20_000;
const BINARY_PREVIEW_BYTES = 48;

/** Close codes after which the gateway does not want this client back. */
const FINAL_CLOSES = {
  1002: 'protocol error',
  1003: 'kind of data not accepted',
  1007: 'invalid UTF-8',
  1008: 'policy violated',
  1009: 'message too large',
};
const OTHER_CLOSES = { 1006: 'no answer', 4001: 'this page read too slowly' };
const COME_BACK_NOW = [1001, 4001];

/** @typedef {{kind: 'everyone'} | {kind: 'group', group: string} | {kind: 'connection', worker: number, connection: number}} Audience */

/**
 * Milliseconds before the next attempt; `attempt` counts from 0, `random` is in [0, 1).
 * Even "now" is spread, or all clients of a drained gateway would arrive at the next one together.
 */
export function backoff(code, attempt, random) {
  if (attempt === 0 && COME_BACK_NOW.includes(code)) return random * SHORTEST_DELAY_MS;
  const ceiling = Math.min(LONGEST_DELAY_MS, SHORTEST_DELAY_MS * 2 ** (attempt + 1));
  return SHORTEST_DELAY_MS + random * (ceiling - SHORTEST_DELAY_MS);
}

export function describeClose(code, reason) {
  const meaning = reason || FINAL_CLOSES[code] || OTHER_CLOSES[code];
  return meaning ? `${code}: ${meaning}` : `${code}`;
}

/** Why `name` cannot be a group, or undefined. */
export function groupProblem(name) {
  const bytes = new TextEncoder().encode(name).length;
  if (bytes === 0) return 'A group needs a name.';
  if (bytes > MAX_GROUP_BYTES) return `A group name has at most ${MAX_GROUP_BYTES} bytes; this one has ${bytes}.`;
  if (/\p{Cc}/u.test(name)) return 'A group name cannot contain control characters.';
}

/** A query with %20 for a space, which every reader of URLs understands; + is only for forms. */
const query = (parameters) => new URLSearchParams(parameters).toString().replaceAll('+', '%20');
const groupQuery = (groups) => query(groups.map((group) => ['group', group]));

/** The leading groups that fit into a URL. */
export function groupsForUrl(groups) {
  let chars = 0;
  return groups.filter((group) => (chars += groupQuery([group]).length + 1) <= MAX_GROUPS_IN_URL_CHARS);
}

/** The websocket address of the gateway that served `page`. */
export function socketUrl(page, groups) {
  const url = new URL('/', page);
  url.protocol = url.protocol.replace('http', 'ws');
  url.search = groupQuery(groups);
  return url.href;
}

/** The address of `page` with its groups replaced; other parameters stay. */
export function pageUrl(page, groups) {
  const url = new URL(page);
  const others = [...url.searchParams].filter(([name]) => name !== 'group');
  url.search = [query(others), groupQuery(groups)].filter(Boolean).join('&');
  return url.href;
}

/** The publisher as configured: a URL, or `:PORT` on the host of `page`, or its default port there. */
export function publisherUrl(page, configured) {
  if (configured && !configured.startsWith(':')) return new URL(configured).href;
  const url = new URL('/', page);
  url.port = configured.slice(1) || DEFAULT_PUBLISHER_PORT;
  return url.href;
}

/** The address that pushes to `audience`; without `content`, the one to POST it to. Never contains a single quote. */
export function pushUrl(publisher, { kind, group, worker, connection }, content) {
  const parameters = {
    everyone: {},
    group: { to_group: group },
    connection: { to_worker_id: worker, to_connection_id: connection },
  }[kind];
  const url = new URL(publisher);
  url.search = query(content === undefined ? parameters : { ...parameters, content });
  return url.href.replaceAll("'", '%27');
}

/** `text` as one word of a POSIX shell. */
export const shellQuote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

const plural = (count, noun) => `${count.toLocaleString('en')} ${noun}${count === 1 ? '' : 's'}`;

export function describeReceipt({ matched, gateways, written, durability, position }) {
  if (matched === undefined) return `accepted: written to ${plural(written, 'connection')}`;
  const reach = `accepted: matched ${plural(matched, 'connection')} on ${plural(gateways, 'gateway')}`;
  return `${reach} (durability ${durability}, position ${position})`;
}

export function describeBinary(base64) {
  const bytes = Math.floor((base64.replace(/=+$/, '').length * 3) / 4);
  const start = atob(base64.slice(0, (BINARY_PREVIEW_BYTES / 3) * 4));
  const hex = Array.from(start, (char) => char.charCodeAt(0).toString(16).padStart(2, '0')).join(' ');
  return `${plural(bytes, 'byte')}, binary: ${hex}${bytes > BINARY_PREVIEW_BYTES ? ' …' : ''}`;
}

function describeText(text) {
  const more = text.length - MAX_SHOWN_CHARS;
  return more > 0 ? `${text.slice(0, MAX_SHOWN_CHARS)} … and ${plural(more, 'more character')}` : text;
}

/** Kind and label of a received event's audience. */
function describeAudience(to) {
  if (typeof to !== 'string') return Object.entries(to)[0];
  return [to, to === 'connection' ? 'this connection' : to];
}

/** The websocket and its reconnects. `state` is connecting, connected, waiting or stopped. */
class Connection {
  state = 'stopped';
  #address;
  #listener;
  #socket = null;
  #attempt = 0;
  #connectedAt = Infinity;
  #retry;
  #pinger;

  /** `address()` is asked before each attempt; `listener` has `state(name, detail)` and `message(object)`. */
  constructor(address, listener) {
    this.#address = address;
    this.#listener = listener;
  }

  open() {
    this.#abandon();
    this.#become('connecting');
    this.#socket = new WebSocket(this.#address(), SUBPROTOCOL);
    let heard = false;
    this.#socket.onmessage = ({ data }) => {
      heard = true;
      this.#receive(JSON.parse(data));
    };
    this.#socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    this.#pinger = setInterval(() => {
      if (!heard) return this.#lost(1006, 'the gateway fell silent');
      heard = false;
      this.send({ type: 'ping' });
    }, PING_EVERY_MS);
  }

  /** Sends now or not at all: the caller knows what to say again after a reconnect. */
  send(message) {
    if (this.state === 'connected') this.#socket.send(JSON.stringify(message));
  }

  #receive(message) {
    if (message.type === 'welcome') {
      this.#connectedAt = performance.now();
      this.#become('connected');
    }
    this.#listener.message(message);
  }

  #lost(code, reason) {
    this.#abandon();
    const why = describeClose(code, reason);
    if (code in FINAL_CLOSES) return this.#become('stopped', { why });
    if (performance.now() - this.#connectedAt >= STABLE_MS) this.#attempt = 0;
    this.#connectedAt = Infinity;
    const delay = backoff(code, this.#attempt++, Math.random());
    this.#retry = setTimeout(() => this.open(), delay);
    this.#become('waiting', { why, until: performance.now() + delay });
  }

  #abandon() {
    clearTimeout(this.#retry);
    clearInterval(this.#pinger);
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #become(state, detail = {}) {
    this.state = state;
    this.#listener.state(state, detail);
  }
}

const byId = (id) => document.getElementById(id);

function element(tag, { dataset, ...properties }, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  Object.assign(node.dataset, dataset);
  node.append(...children);
  return node;
}

/** The list of messages, newest first, drawn at most once per frame whatever arrives. */
class Feed {
  #received = 0;
  #undrawn = [];
  #scheduled = false;
  #clock = new Intl.DateTimeFormat([], {
    hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23',
  });

  addEvent(event) {
    this.#received += 1;
    this.#add({ event, at: new Date() });
  }

  addNotice(notice) {
    this.#add({ notice, at: new Date() });
  }

  clear() {
    this.#received = 0;
    this.#undrawn = [];
    byId('messages').replaceChildren();
    this.#draw();
  }

  #add(entry) {
    this.#undrawn.push(entry);
    // A hidden tab draws no frames, however long it stays hidden.
    if (this.#undrawn.length > MAX_SHOWN) this.#undrawn.shift();
    if (!this.#scheduled) requestAnimationFrame(() => this.#draw());
    this.#scheduled = true;
  }

  #draw() {
    this.#scheduled = false;
    if (this.#undrawn.some(({ event }) => event)) ringBell();
    const list = byId('messages');
    list.prepend(...this.#undrawn.reverse().map((entry) => this.#item(entry)));
    this.#undrawn = [];
    while (list.childElementCount > MAX_SHOWN) list.lastElementChild.remove();
    byId('count').textContent = this.#received;
  }

  #item({ event, notice, at }) {
    const time = element('time', { dateTime: at.toISOString(), textContent: this.#clock.format(at) });
    if (notice) return element('li', { className: 'notice' }, time, notice);
    if (event.id) time.title = `position ${event.id}`;
    const [kind, label] = describeAudience(event.to);
    const content = event.content === undefined
      ? element('div', { className: 'content binary', textContent: describeBinary(event.content_base64) })
      : element('div', { className: 'content', dir: 'auto', textContent: describeText(event.content) });
    return element('li', { className: 'message', dataset: { audience: kind } },
      time, element('bdi', { className: 'audience', textContent: label }), content);
  }
}

function ringBell() {
  const bell = byId('bell');
  if (bell.getAnimations().length || matchMedia('(prefers-reduced-motion: reduce)').matches) return;
  bell.animate({ rotate: ['0deg', '16deg', '-12deg', '6deg', '0deg'] }, { duration: 700, easing: 'ease-in-out' });
}

// The page: its connection.

const publisher = publisherUrl(location.href, document.querySelector('meta[name=campanile-publisher]').content);
const feed = new Feed();
/** The groups the user wants, each with whether the gateway has confirmed it. */
const groups = new Map();
let groupsAtHandshake = [];
/** @type {{worker: number, connection: number} | null} */
let identity = null;
let greetedBefore = false;
let countdown;

const connection = new Connection(
  () => socketUrl(location.href, (groupsAtHandshake = groupsForUrl([...groups.keys()]))),
  { state: showState, message: (message) => receivers[message.type]?.(message) },
);

const receivers = {
  welcome,
  event: (event) => feed.addEvent(event),
  gap: () => feed.addNotice('The gateway lost some messages for this connection.'),
  joined({ group }) {
    groups.set(group, true);
    showGroups();
  },
  left({ group }) {
    groups.delete(group);
    showGroups();
  },
  /** An error does not name its group, so every unconfirmed one goes; those that were fine come back with `joined`. */
  error({ message }) {
    byId('join-error').textContent = message;
    for (const [group, confirmed] of groups) if (!confirmed) groups.delete(group);
    showGroups();
  },
};

function welcome({ worker, connection: id }) {
  identity = { worker, connection: id };
  byId('worker-id').textContent = worker;
  byId('connection-id').textContent = id;
  if (greetedBefore) feed.addNotice('Reconnected. Messages pushed in between are not shown.');
  greetedBefore = true;
  for (const group of groupsAtHandshake) if (!groups.has(group)) connection.send({ type: 'leave', group });
  for (const group of groups.keys()) {
    if (groupsAtHandshake.includes(group)) groups.set(group, true);
    else connection.send({ type: 'join', group });
  }
  showGroups();
}

function showState(state, { why, until }) {
  clearInterval(countdown);
  byId('state').dataset.state = state;
  byId('state-word').textContent = state === 'waiting' ? 'reconnecting' : state;
  byId('state-countdown').textContent = '';
  if (state === 'waiting') countDown(until);
  byId('state-detail').textContent = {
    connecting: 'Waiting for the gateway’s greeting …',
    connected: '',
    waiting: `The connection is lost (${why}).`,
    stopped: `The gateway closed the connection for good (${why}).`,
  }[state];
  byId('greeting').hidden = state !== 'connected';
  byId('connect-again').hidden = state !== 'waiting' && state !== 'stopped';
  if (state === 'connected') return;
  identity = null;
  for (const group of groups.keys()) groups.set(group, false);
  showGroups();
}

function countDown(until) {
  const tick = () => {
    const seconds = Math.max(1, Math.ceil((until - performance.now()) / 1000));
    byId('state-countdown').textContent = ` in ${seconds} s`;
  };
  tick();
  countdown = setInterval(tick, 250);
}

byId('connect-again').onclick = () => connection.open();

function hurry() {
  if (connection.state === 'waiting') connection.open();
}
addEventListener('online', hurry);
document.addEventListener('visibilitychange', () => document.hidden || hurry());

// The page: its groups.

function join(group) {
  let problem = groupProblem(group);
  if (groups.has(group)) problem = 'This group is joined already.';
  else if (groups.size >= MAX_GROUPS) problem = `A connection can join at most ${MAX_GROUPS} groups.`;
  byId('join-error').textContent = problem ?? '';
  if (problem) return false;
  groups.set(group, false);
  connection.send({ type: 'join', group });
  showGroups();
  return true;
}

function leave(group) {
  groups.delete(group);
  connection.send({ type: 'leave', group });
  showGroups();
  // The focused button is gone; a text field would open the keyboard of a phone.
  (document.querySelector('#groups .leave') ?? byId('join-submit')).focus();
}

function showGroups() {
  const chips = new Map([...byId('groups').children].map((chip) => [chip.dataset.group, chip]));
  for (const [group, chip] of chips) if (!groups.has(group)) chip.remove();
  for (const [group, confirmed] of groups) {
    const chip = chips.get(group) ?? byId('groups').appendChild(groupChip(group));
    chip.classList.toggle('pending', !confirmed);
  }
  const names = [...groups.keys()];
  byId('joined-groups').replaceChildren(...names.map((value) => element('option', { value })));
  const address = pageUrl(location.href, groupsForUrl(names));
  if (address !== location.href) history.replaceState(null, '', address);
  showLinks(names.at(-1));
}

function groupChip(group) {
  const button = element('button', { type: 'button', className: 'leave', ariaLabel: `Leave ${group}`, textContent: '×' });
  button.onclick = () => leave(group);
  return element('li', { dataset: { group } }, element('bdi', { textContent: group }), button);
}

byId('join-form').onsubmit = (event) => {
  event.preventDefault();
  if (join(byId('join-group').value)) byId('join-group').value = '';
};

// The page: its links.

function showLinks(group) {
  const groupAudience = group !== undefined && { kind: 'group', group };
  showLink('everyone', { kind: 'everyone' });
  showLink('connection', identity && { kind: 'connection', ...identity });
  showLink('group', groupAudience);
  const url = shellQuote(pushUrl(publisher, groupAudience || { kind: 'everyone' }));
  const post = document.querySelector('[data-curl=post]');
  post.textContent = `curl ${url} --data-binary 'hello' -H 'Content-Type: text/plain'`;
}

function showLink(name, audience) {
  const row = document.querySelector(`[data-row=${name}]`);
  row.classList.toggle('unknown', !audience);
  const link = row.querySelector('a');
  link.textContent = link.href = audience ? pushUrl(publisher, audience, 'hello') : '';
}

/** Where the clipboard API is missing (plain http), a selection is copied, or left for the user to copy. */
async function copyText(node) {
  try {
    await navigator.clipboard.writeText(node.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(node);
    return document.execCommand('copy');
  }
}

byId('links').onclick = async ({ target }) => {
  const what = target.dataset.copy;
  if (!what) return;
  const copied = await copyText(target.closest('[data-row]').querySelector(what === 'link' ? 'a' : 'code'));
  target.textContent = byId('announcer').textContent = copied ? 'Copied' : 'Selected';
  setTimeout(() => {
    target.textContent = `Copy ${what}`;
    byId('announcer').textContent = '';
  }, 2000);
};

// The page: its push form.

/** POSTs `content`; never throws. CORS calls this request simple: there is no preflight. */
async function push(audience, content) {
  try {
    const response = await fetch(pushUrl(publisher, audience), {
      method: 'POST',
      headers: { Accept: 'application/json', 'Content-Type': 'text/plain; charset=utf-8' },
      body: content,
      signal: AbortSignal.timeout(PUSH_TIMEOUT_MS),
    });
    const answer = (await response.text()).trim();
    if (!response.ok) return ['refused', `${response.status}: ${answer || response.statusText}`];
    return ['accepted', answer.startsWith('{') ? describeReceipt(JSON.parse(answer)) : 'accepted'];
  } catch ({ name }) {
    if (name === 'TimeoutError') return ['unreachable', `No answer from ${publisher}: it is unknown whether the push was accepted.`];
    return ['unreachable', `Could not reach the publisher at ${publisher}. Is it running there? If not, start the gateway `
      + `with the right --publisher-url; if so, start the publisher with --allow-origin ${location.origin}.`];
  }
}

/** @returns {Audience | null} null while there is no connection to push to */
function chosenAudience() {
  const kind = byId('push-audience').value;
  if (kind === 'connection') return identity && { kind, ...identity };
  return { kind, group: byId('push-group').value };
}

function showResult([outcome, text]) {
  byId('push-result').dataset.outcome = outcome;
  byId('push-result').textContent = text;
}

byId('push-form').onsubmit = async (event) => {
  event.preventDefault();
  if (byId('push-result').dataset.outcome === 'waiting') return;
  const audience = chosenAudience();
  const problem = audience?.kind === 'group' && groupProblem(audience.group);
  if (!audience || problem) return showResult(['refused', problem || 'This page has no connection now.']);
  const field = byId('push-content');
  const content = field.value;
  showResult(['waiting', 'pushing …']);
  const result = await push(audience, content);
  showResult(result);
  if (result[0] === 'accepted' && field.value === content) field.value = '';
};

byId('push-content').onkeydown = (event) => {
  // Enter also ends a Korean, Chinese or Japanese composition; that one is not for us.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId('push-form').requestSubmit();
};

byId('push-audience').onchange = ({ target }) => {
  byId('push-group-field').hidden = byId('push-group').disabled = target.value !== 'group';
};

byId('clear').onclick = () => feed.clear();
byId('gateway-url').textContent = socketUrl(location.href, []);
byId('publisher-url').textContent = publisher;
for (const group of new URL(location.href).searchParams.getAll('group')) join(group);
connection.open();
