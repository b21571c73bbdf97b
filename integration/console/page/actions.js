// What an operator does: looks up and disconnects, and pushes.

import { announce, byId, make, named, say } from './dom.js';
import { get, post, remove } from './server.js';
import { traceLater } from './trace.js';
import { bytes, clock, count, dialectWord, duration, endWord, plural, readAddress } from './words.js';

let may = { change: false };

/** Whether this session may change something. */
export function allowChanges(change) {
  may = { change };
  for (const id of ['no-push', 'no-disconnect']) byId(id).hidden = change;
  byId('push-submit').disabled = !change;
}

// Looking up.

let found = null;

function detail(name, value) {
  return make('div', { class: name.toLowerCase() === 'position' ? 'long' : null }, make('dt', {}, name), make('dd', {}, value));
}

function connectionCard(one) {
  const address = `${one.worker}/${one.connection}`;
  const isLive = one.state !== 'ended';
  const groups = (one.groups ?? []).flatMap((group) => [make('li', {}, named(group))]);
  if (one.groups_left_out > 0) groups.push(make('li', { class: 'more' }, `and ${count(one.groups_left_out)} more`));
  return make('li', { class: 'found', 'data-state': isLive ? 'live' : 'ended' },
    make('div', { class: 'found-head' },
      make('h3', {}, make('code', {}, address)),
      make('span', { class: 'badge', 'data-mood': isLive ? 'good' : 'none' }, isLive ? 'connected' : 'ended'),
      make('div', { class: 'found-actions' },
        make('button', { type: 'button', class: 'quiet', onclick: () => traceLater({ connection: address }) }, 'Why not this one?'),
        isLive && may.change ? make('button', { type: 'button', class: 'quiet danger', 'data-disconnect': address,
          onclick: () => ask({ path: `connections/${address}`, what: `the connection ${address}` }) }, 'Disconnect…') : null)),
    make('dl', { class: 'details' },
      detail('User', one.user === null || one.user === undefined ? 'none' : named(one.user)),
      detail('Address', one.address ?? 'unknown'),
      detail('Client', dialectWord(one.dialect)),
      isLive ? detail('Connected for', duration(one.open_seconds)) : detail('Ended', `${clock(one.ended)}${one.code ? `, ${one.code}` : ''}: ${endWord(one)}`),
      isLive ? detail('Waiting to be written', bytes(one.outbox_bytes)) : detail('Was connected for', duration(one.open_seconds)),
      detail('Sent', bytes(one.sent_bytes)),
      detail('Position', make('code', {}, one.position ?? '–'))),
    groups.length ? make('ul', { class: 'groups', 'aria-label': 'Groups' }, ...groups) : make('p', { class: 'hint' }, isLive ? 'It listens to no group.' : 'It listened to no group when it ended.'));
}

function showFound({ user, connections, left_out: leftOut = 0, silent = [] }) {
  const list = byId('found');
  const parts = connections.map(connectionCard);
  list.replaceChildren(...parts);
  const all = connections.length + leftOut;
  const head = byId('found-summary');
  head.replaceChildren();
  if (user !== undefined) {
    head.append('The user ', named(user), ` has ${plural(all, 'connection')}.`);
    if (leftOut > 0) head.append(` The first ${connections.length} are shown.`);
    if (all > 0 && may.change) {
      head.append(' ', make('button', { type: 'button', class: 'quiet danger', id: 'disconnect-user',
        onclick: () => ask({ path: `users/${encodeURIComponent(user)}`, what: `all connections of the user ${user}` }) }, 'Disconnect all…'));
    }
  }
  if (silent.length) head.append(` No answer from ${plural(silent.length, 'gateway')}: more may be there.`);
  head.hidden = head.childNodes.length === 0;
}

function showKind() {
  const isConnection = byId('look-up-kind').value === 'connection';
  byId('look-up-name').placeholder = isConnection ? '4735311121432576/7' : '42';
  say(byId('look-up-label'), isConnection ? 'Worker and connection' : 'Name of the user');
}

/** Looks a connection up, where the page shows it. */
export function lookUpLater(address) {
  byId('look-up-kind').value = 'connection';
  showKind();
  byId('look-up-name').value = address;
  byId('look-up').scrollIntoView();
  byId('look-up-name').focus();
  lookUp();
}

async function lookUp(event) {
  event?.preventDefault();
  const problem = byId('look-up-problem');
  const [kind, typed] = [byId('look-up-kind').value, byId('look-up-name').value];
  let path = `users/${encodeURIComponent(typed)}`;
  if (kind === 'connection') {
    const address = readAddress(typed);
    if (!address) {
      return say(problem, `${typed} is not a connection: accepted are WORKER/CONNECTION, such as 4735311121432576/7`);
    }
    path = `connections/${address[0]}/${address[1]}`;
  }
  found = null;
  say(problem, '');
  const answer = await get(path);
  byId('found').replaceChildren();
  byId('found-summary').hidden = true;
  if (!answer.ok) return say(problem, answer.sentence);
  found = kind === 'connection' ? { connections: [answer.value] } : answer.value;
  showFound(found);
  announce(plural(found.connections.length, 'connection found', 'connections found'));
}

// Disconnecting.

let asked = null;

function ask(about) {
  asked = about;
  say(byId('disconnect-what'), `This ends ${about.what}.`);
  byId('disconnect-reason').value = '';
  say(byId('disconnect-problem'), '');
  byId('disconnect').showModal();
}

async function disconnect(event) {
  event.preventDefault();
  const reason = byId('disconnect-reason').value.trim();
  if (!reason) return say(byId('disconnect-problem'), 'A reason is needed: the client sees it, and so does the log.');
  const again = byId('disconnect-again').checked ? '&reconnect' : '';
  const answer = await remove(`${asked.path}?reason=${encodeURIComponent(reason)}${again}`);
  if (!answer.ok) return say(byId('disconnect-problem'), answer.sentence);
  byId('disconnect').close();
  const { disconnected = 0, ending = 0, silent = [] } = answer.value ?? {};
  const text = `${plural(disconnected, 'connection was', 'connections were')} disconnected.`
    + (ending > 0 ? ` ${plural(ending, 'more is', 'more are')} ending.` : '')
    + (silent.length ? ` No answer from ${plural(silent.length, 'gateway')}.` : '');
  byId('found').replaceChildren();
  const head = byId('found-summary');
  head.hidden = false;
  head.replaceChildren(text);
  announce(text);
  byId('look-up-name').focus();
}

// Pushing.

function showAudience() {
  const kind = byId('push-audience').value;
  for (const of of ['group', 'user', 'connection']) {
    byId(`push-${of}-field`).hidden = kind !== of;
    byId(`push-${of}`).disabled = kind !== of;
  }
}

function showResult(outcome, ...parts) {
  const result = byId('push-result');
  result.dataset.outcome = outcome;
  result.replaceChildren(...parts);
}

function receipt(value) {
  const list = Object.entries(value).filter(([, it]) => it === null || typeof it !== 'object');
  return make('dl', { class: 'details' }, list.map(([name, it]) => detail(name.replaceAll('_', ' '), make('code', {}, `${it}`))));
}

async function push(event) {
  event.preventDefault();
  const kind = byId('push-audience').value;
  const fields = { content: byId('push-content').value };
  if (kind === 'group') fields.to_group = byId('push-group').value;
  if (kind === 'user') fields.to_user = byId('push-user').value;
  if (kind === 'connection') {
    const address = readAddress(byId('push-connection').value);
    if (!address) return showResult('refused', `${byId('push-connection').value} is not a connection: accepted are WORKER/CONNECTION, such as 4735311121432576/7`);
    [fields.to_worker_id, fields.to_connection_id] = address;
  }
  if (byId('push-id').value && kind !== 'connection') fields.id = byId('push-id').value;
  if (byId('push-wait').checked && kind !== 'connection') fields.wait = 'delivered';
  byId('push-submit').disabled = true;
  showResult('waiting', 'pushing…');
  const answer = await post('console/push', fields);
  byId('push-submit').disabled = !may.change;
  if (!answer.ok) return showResult('refused', answer.sentence);
  const { position } = answer.value;
  const follow = position ? [make('button', { type: 'button', class: 'quiet', onclick: () => traceLater({ position }) }, 'Trace it')] : [];
  showResult('accepted', make('p', {}, make('strong', {}, 'Accepted.'), ' ', ...follow), receipt(answer.value));
}

export function watchActions() {
  byId('look-up-form').addEventListener('submit', lookUp);
  byId('look-up-kind').addEventListener('change', showKind);
  byId('disconnect-form').addEventListener('submit', disconnect);
  byId('disconnect-cancel').addEventListener('click', () => byId('disconnect').close());
  byId('push-form').addEventListener('submit', push);
  byId('push-audience').addEventListener('change', showAudience);
  showAudience();
}
