// The page of a gateway: one connection, the messages that arrive on it, and ways to push to it.
// The list of messages comes first, then the page itself.

import { Campanile, groupProblem } from './campanile.js';
import {
  describeAudience, describeBinary, describeClose, describeGap, describeHistory,
  describeReceipt, describeText, eventsUrl, groupsForUrl, historyWanted,
  pageUrl, publisherUrl, pushUrl, shellQuote, socketUrl,
} from './words.js';

/** Above the publisher's own longest wait (30 s), so that its answer wins. */
const PUSH_TIMEOUT_MS = 35_000;
const MAX_SHOWN = 500;

/** @typedef {import('./words.js').Audience} Audience */

const byId = (id) => document.getElementById(id);

function element(tag, { dataset, ...properties }, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  Object.assign(node.dataset, dataset);
  node.append(...children);
  return node;
}

/** The list of messages, newest first, which is drawn at most once per frame. */
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

  /** A line between the events. */
  addNotice(notice, className = 'notice') {
    this.#add({ notice, className, at: new Date() });
  }

  clear() {
    this.#received = 0;
    this.#undrawn = [];
    byId('messages').replaceChildren();
    this.#draw();
  }

  #add(entry) {
    this.#undrawn.push(entry);
    // A hidden tab draws no frames, so without a limit this would grow for as long as it is hidden.
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

  #item({ event, notice, className, at }) {
    const time = element('time', { dateTime: at.toISOString(), textContent: this.#clock.format(at) });
    if (notice) return element('li', { className }, time, notice);
    if (event.id) time.title = `position ${event.id}`;
    const [kind, label] = describeAudience(event.to);
    const content = typeof event.content === 'string'
      ? element('div', { className: 'content', dir: 'auto', textContent: describeText(event.content) })
      : element('div', { className: 'content binary', textContent: describeBinary(event.content) });
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
/** @type {{worker: number, connection: number} | null} */
let identity = null;
let countdown;

/** The token behind `#token=` in the page's address: browsers send that part to nobody. */
const tokenInAddress = () => new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
const hasToken = tokenInAddress() !== '';

const campanile = new Campanile(socketUrl(location.href), {
  ...historyWanted(new URL(location.href).searchParams),
  ...(hasToken && { token: tokenInAddress }),
  onEvent: (event) => feed.addEvent(event),
  onState: showState,
  onGap: showGap,
  onGroups: showGroups,
  onError: ({ message }) => (byId('join-error').textContent = message),
});

/** The names that this page uses for the client's states. */
const STATES = { connecting: 'connecting', open: 'connected', waiting: 'waiting', closed: 'stopped' };

function showState(state, detail) {
  clearInterval(countdown);
  byId('state').dataset.state = STATES[state];
  byId('state-word').textContent = state === 'waiting' ? 'reconnecting' : STATES[state];
  byId('state-countdown').textContent = '';
  if (state === 'waiting') countDown(performance.now() + detail.delay);
  byId('state-detail').textContent = {
    connecting: () => 'Waiting for the gateway’s greeting …',
    open: () => (detail.recovered ? 'Resumed without missing anything.' : ''),
    waiting: () => `The connection was lost (${describeClose(detail)}).`,
    closed: () => `The gateway closed the connection for good (${describeClose(detail)}).`,
  }[state]() + (detail.code === 4401 ? ' Write a valid token behind this page’s address: #token=TOKEN' : '');
  delete byId('state-detail').dataset.gap;
  identity = detail.address ?? null;
  byId('worker-id').textContent = identity?.worker ?? '';
  byId('connection-id').textContent = identity?.connection ?? '';
  byId('greeting').hidden = !identity;
  byId('connect-again').hidden = state !== 'waiting' && state !== 'closed';
  if (detail.history) feed.addNotice(`Connected. ${describeHistory(detail.history)}`, 'notice resumed');
  if (detail.recovered) feed.addNotice('Reconnected without missing anything.', 'notice resumed');
}

function showGap({ reason, group, resuming }) {
  const where = group === undefined ? 'here' : `here, of the group ${group}`;
  const lead = resuming && group === undefined ? 'Reconnected. ' : '';
  feed.addNotice(`${lead}Events may be missing ${where}: ${describeGap(reason)}.`, 'notice gap');
  byId('state-detail').textContent = 'Events may be missing: see the messages.';
  byId('state-detail').dataset.gap = reason;
}

function countDown(until) {
  const tick = () => {
    const seconds = Math.max(1, Math.ceil((until - performance.now()) / 1000));
    byId('state-countdown').textContent = ` in ${seconds} s`;
  };
  tick();
  countdown = setInterval(tick, 250);
}

byId('connect-again').onclick = () => campanile.connect();

// The page: its groups.

function join(group) {
  let problem = '';
  try {
    if (campanile.groups.has(group)) problem = 'This group is already joined.';
    campanile.join(group);
  } catch ({ message }) {
    problem = message;
  }
  byId('join-error').textContent = problem;
  return !problem;
}

function leave(group) {
  campanile.leave(group);
  // The button that had the focus is gone. A text field would open the keyboard of a phone.
  (document.querySelector('#groups .leave') ?? byId('join-submit')).focus();
}

/** @param {Map<string, boolean>} groups each one with whether the gateway listens for it now */
function showGroups(groups) {
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
  const header = element('span', { className: 'unbroken', textContent: "-H 'Content-Type: text/plain'" });
  post.replaceChildren(`curl ${url} --data-binary 'hello' `, header);
  const events = document.querySelector('[data-curl=events]');
  events.textContent = `curl -N ${shellQuote(eventsUrl(location.href, group ?? 'news'))}`;
}

function showLink(name, audience) {
  const row = document.querySelector(`[data-row=${name}]`);
  row.classList.toggle('unknown', !audience);
  const link = row.querySelector('a');
  link.textContent = link.href = audience ? pushUrl(publisher, audience, 'hello') : '';
}

/** Copies with the clipboard API. Where that is missing (plain http), selects the text for the user and tries to copy it. */
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

/** POSTs `content`; never throws. In terms of CORS this is a simple request without a preflight, unless there is a key. */
async function push(audience, content) {
  const key = byId('push-key').value.trim();
  const headers = { Accept: 'application/json', 'Content-Type': 'text/plain; charset=utf-8' };
  try {
    const response = await fetch(pushUrl(publisher, audience), {
      method: 'POST',
      headers: key ? { ...headers, Authorization: `Bearer ${key}` } : headers,
      body: content,
      signal: AbortSignal.timeout(PUSH_TIMEOUT_MS),
    });
    const answer = (await response.text()).trim();
    if (response.status === 401) askForKey();
    if (!response.ok) return ['refused', `${response.status}: ${answer || response.statusText}`];
    return ['accepted', answer.startsWith('{') ? describeReceipt(JSON.parse(answer)) : 'accepted'];
  } catch ({ name }) {
    if (name === 'TimeoutError') return ['unreachable', `No answer from ${publisher}. The push may or may not have been accepted.`];
    return ['unreachable', `Could not reach the publisher at ${publisher}. If it is not running there, start the gateway `
      + `with the right --publisher-url. If it is, start the publisher with --allow-origin ${location.origin}.`];
  }
}

/** Shows the field for the key, which is not there where the publisher is open. The key is only ever in that field. */
function askForKey() {
  byId('push-key-field').hidden = byId('push-key').disabled = false;
  byId('push-key').focus();
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
  if (!audience || problem) return showResult(['refused', problem || 'This page is not connected now.']);
  const field = byId('push-content');
  const content = field.value;
  showResult(['waiting', 'pushing …']);
  const result = await push(audience, content);
  showResult(result);
  if (result[0] === 'accepted' && field.value === content) field.value = '';
};

byId('push-content').onkeydown = (event) => {
  // Enter also ends a Korean, Chinese or Japanese composition, which must not push.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId('push-form').requestSubmit();
};

byId('push-audience').onchange = ({ target }) => {
  byId('push-group-field').hidden = byId('push-group').disabled = target.value !== 'group';
};

byId('clear').onclick = () => feed.clear();
byId('gateway-url').textContent = socketUrl(location.href);
byId('publisher-url').textContent = publisher;
for (const group of new URL(location.href).searchParams.getAll('group')) join(group);
addEventListener('hashchange', () => (hasToken ? campanile.connect() : location.reload()));
