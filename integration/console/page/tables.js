// What went wrong: connections that ended, limits that were reached, pushes that were refused.

import { byId, make, named, row, say } from './dom.js';
import { clock, closeWord, count, limitWord, refusalWord } from './words.js';

/** The sums of a kind of counters over processes, the largest first. */
function sums(processes, kind) {
  const all = new Map();
  for (const { totals } of processes) {
    for (const [name, value] of Object.entries(totals?.[kind] ?? {})) all.set(name, (all.get(name) ?? 0) + value);
  }
  return [...all].filter(([, value]) => value > 0).sort(([, one], [, other]) => other - one);
}

function fill(id, rows) {
  const body = byId(`${id}-rows`);
  body.replaceChildren(...rows);
  body.closest('.table').hidden = rows.length === 0;
  byId(`${id}-empty`).hidden = rows.length > 0;
}

const sentence = (text, times) =>
  [make('span', { class: 'sentence', dir: 'auto' }, text), times > 1 ? make('span', { class: 'hint' }, ` ${count(times)} times`) : null];

let shownRefusals = '';

export function showTables(cluster, history) {
  const [gateways, publishers] = [cluster.gateways ?? [], cluster.publishers ?? []];
  const counted = (kind, name, words, value) =>
    row(make('code', {}, name), words, { number: count(history.lastMinute(`${kind} ${name}`)) }, { number: count(value) });
  fill('closed', sums(gateways, 'closed').map(([code, value]) => counted('closed', code, closeWord(code), value)));
  fill('turned-away', sums(gateways, 'refused').map(([reason, value]) => counted('refused', reason, refusalWord(reason), value)));
  fill('limits', sums([...gateways, ...publishers], 'limits').map(([limit, value]) =>
    row(limitWord(limit), { number: count(history.lastMinute(`limits ${limit}`)) }, { number: count(value) })));
  const refused = publishers.flatMap(({ refused }) => refused ?? []).sort((one, other) => other.time - one.time).slice(0, 50);
  // The same rows again would lose what somebody has selected.
  const now = JSON.stringify(refused);
  if (now === shownRefusals) return;
  shownRefusals = now;
  fill('refused', refused.map(({ time, status, kind, key, sentence: said, count: times }) =>
    row({ number: clock(time) }, make('code', {}, `${status}`), kind ?? '', key ? named(key) : '–', sentence(said ?? '', times))));
  say(byId('refused-count'), refused.length ? `the last ${refused.length}` : '');
}
