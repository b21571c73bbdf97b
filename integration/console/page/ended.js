// The connections that ended last.

import { lookUpLater } from './actions.js';
import { byId, make, named, say } from './dom.js';
import { ago, bytes, count, dialectWord, duration, endMood, endWord, plural } from './words.js';

/** The cells with the ages of the rows that are shown. */
let ages = [];
let shown = '';

function rowOf(one) {
  const address = `${one.worker}/${one.connection}`;
  const age = make('td', { class: 'number' });
  ages.push({ age, ended: one.ended });
  const code = one.code ? [make('code', { 'data-mood': endMood(one) }, `${one.code}`), ' '] : [];
  return make('tr', {}, age,
    make('td', { class: 'why' }, ...code, endWord(one)),
    one.user === null || one.user === undefined ? make('td', { class: 'nobody' }, '–') : make('td', { class: 'who' }, named(one.user)),
    make('td', { class: 'from' }, named(one.address ?? '–')),
    make('td', {}, dialectWord(one.dialect)),
    make('td', { class: 'number', 'data-label': 'open for' }, duration(one.open_seconds)),
    make('td', { class: 'number', 'data-label': 'sent' }, bytes(one.sent_bytes)),
    make('td', {}, make('button', { type: 'button', class: 'link', 'data-connection': address,
      'aria-label': `Look up the connection ${address}`, onclick: () => lookUpLater(address) }, make('code', {}, address))));
}

function silence(silent) {
  const of = (...reasons) => silent.filter(({ reason }) => reasons.includes(reason)).length;
  const [earlier, away] = [of('not_understood'), of('away')];
  const others = silent.length - earlier - away;
  return [
    earlier && `${plural(earlier, 'gateway is', 'gateways are')} of an earlier release, and cannot say which connections ended.`,
    away && `${plural(away, 'gateway has', 'gateways have')} no link to the broker now, so connections may be missing.`,
    others && `${plural(others, 'gateway')} did not answer in time, so connections may be missing.`,
  ].filter(Boolean).join(' ');
}

/** Rows that move away under the pointer, or lose the focus, cannot be used. */
function isInUse(table) {
  return table.contains(document.activeElement?.closest('tr')) || (matchMedia('(hover: hover)').matches && table.matches(':hover'));
}

/** Shows what gateways have said; `now` is by the clock of the server. */
export function showEnded(closed, now) {
  if (!closed) return;
  const { connections, left_out: leftOut = 0, silent = [] } = closed;
  const table = byId('ended-rows').closest('.table');
  const next = JSON.stringify(connections);
  const isHeld = next !== shown && isInUse(table);
  if (next !== shown && !isHeld) {
    shown = next;
    ages = [];
    byId('ended-rows').replaceChildren(...connections.map(rowOf));
    table.hidden = connections.length === 0;
    byId('ended-empty').hidden = connections.length > 0;
  }
  for (const { age, ended } of ages) say(age, ago(now - ended));
  const all = leftOut > 0 ? `the last ${connections.length} of ${count(connections.length + leftOut)} that are remembered` : '';
  say(byId('ended-count'), isHeld ? 'there are newer ones, which come when you leave the table' : all);
  const words = silence(silent);
  say(byId('ended-silent'), words);
  byId('ended-silent').hidden = words === '';
}
