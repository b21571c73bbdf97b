// An event traced by its position, drawn as the path that it took.

import { byId, draw, make, named, say } from './dom.js';
import { get } from './server.js';
import { curve, grid, text, tile, wires } from './tiles.js';
import { bytes, clock, closeWord, count, describeAudience, duration, instance, plural, readAddress, reasonMood, reasonWord, sentenceOf } from './words.js';

const TILE = { least: 170, most: 260, height: 80, rail: 30 };

/** How long after the event was accepted, as `+1.2 ms`. */
const after = (at, accepted) => {
  if (at === null || at === undefined) return '';
  return accepted === null || accepted === undefined ? clock(at, true) : `+${duration(Math.max(0, at - accepted))}`;
};

function gatewayTile(gateway, place, accepted) {
  const { width } = place;
  const lost = gateway.closed_too_slow > 0;
  const waits = gateway.waiting > 0;
  const unknown = gateway.unknown ?? (gateway.received ? null : gateway.sent ? 'not received yet' : 'not sent there: nobody listens');
  const mood = lost ? 'bad' : waits ? 'wait' : unknown ? 'none' : 'good';
  const ended = gateway.closed_waiting > 0;
  const rest = [waits && `${count(gateway.waiting)} waiting`, ended && `${count(gateway.closed_waiting)} closed meanwhile`, lost && `${count(gateway.closed_too_slow)} closed as too slow`].filter(Boolean);
  return tile({ ...place, mood, title: `gateway ${gateway.instance}${unknown ? `: ${unknown}` : ''}`, kind: 'gateway' },
    text(12, 21, instance(gateway.instance), 'name'),
    text(width - 12, 21, gateway.received ? after(gateway.received, accepted) : '', 'small', { end: true }),
    text(12, 45, unknown ?? `written to ${count(gateway.written)} of ${count(gateway.listeners)}`, unknown ? 'small' : 'strong', { room: width - 24 }),
    text(12, 65, rest.join(', ') || gateway.address || '', 'small', { room: width - 24 }));
}

function drawing(trace, width) {
  const { event = {}, gateways = [], connection } = trace;
  const wide = Math.min(320, width - 4);
  const x = (width - wide) / 2;
  const publisher = { x, y: 2, width: wide, height: 62 };
  const broker = { x, y: publisher.y + publisher.height + 28, width: wide, height: 80 };
  const plan = grid(gateways.length, width - 4, TILE);
  const top = broker.y + broker.height;
  const places = gateways.map((gateway, at) => ({
    ...plan.places[at], x: 2 + plan.places[at].x, y: top + TILE.rail + plan.places[at].row * plan.pitch, height: TILE.height,
    link: gateway.received ? 'good' : 'none',
  }));
  const end = top + (gateways.length ? plan.height : 0);
  const height = end + (connection ? 28 + 62 : 0) + 4;
  const svg = draw('svg', { width, height, role: 'img', 'aria-label': summary(trace) });
  const middle = width / 2;
  const by = event.publisher;
  svg.append(curve([middle, publisher.y + publisher.height], [middle, broker.y], 'good'),
    ...wires([middle, top], places, { ...plan, rail: TILE.rail, isBelow: true }),
    tile({ ...publisher, title: 'publisher', kind: 'publisher' },
      text(12, 22, by ? `publisher ${instance(by.instance)}` : 'publisher not known any more', 'name', { room: wide - 24 }),
      text(12, 44, [event.key && `key ${event.key}`, event.id && `id ${event.id}`, event.user && `user ${event.user}`].filter(Boolean).join(', ') || by?.address || '', 'small', { room: wide - 24 })),
    tile({ ...broker, title: 'broker', kind: 'broker' },
      text(12, 22, 'broker', 'name'),
      text(wide - 12, 22, `accepted ${clock(event.accepted, true)}`, 'small', { end: true }),
      text(12, 45, [event.stored && `stored ${after(event.stored, event.accepted)}`, event.released && `released ${after(event.released, event.accepted)}`].filter(Boolean).join(', ') || 'not released yet', 'strong', { room: wide - 24 }),
      text(12, 65, `${bytes(event.bytes)} for ${describeAudience(event.audience)}`, 'small', { room: wide - 24 })),
    ...gateways.map((gateway, at) => gatewayTile(gateway, places[at], event.accepted)));
  if (connection) {
    const mood = reasonMood(connection.reason);
    const y = end + 28;
    const at = gateways.findIndex(({ workers }) => Array.isArray(workers) && workers.includes(connection.worker));
    const from = places[at];
    if (from && plan.isOneRow) svg.append(curve([from.x + from.width / 2, from.y + from.height], [middle, y], mood));
    svg.append(
      tile({ x, y, width: wide, height: 62, mood, title: connection.sentence ?? '', kind: 'connection' },
        text(12, 22, `connection ${connection.worker}/${connection.connection}`, 'name', { room: wide - 24 }),
        text(12, 44, `${connection.reason ?? ''}${at < 0 ? '' : ` at ${instance(gateways[at].instance)}`}`, 'state strong', { room: wide * 0.7 }),
        text(wide - 12, 44, connection.at ? clock(connection.at, true) : '', 'small', { end: true })));
  }
  return svg;
}

const summary = ({ event = {}, gateways = [], connection }) =>
  `The event was accepted at ${clock(event.accepted, true)} and went to ${plural(gateways.filter(({ received }) => received).length, 'gateway')} `
  + `of ${count(gateways.length)}${connection ? `. At the connection: ${reasonWord(connection.reason)}` : ''}`;

let shown;

function showTrace(trace) {
  shown = trace;
  const result = byId('trace-result');
  result.hidden = false;
  const parts = [];
  if (trace.event?.known === false) parts.push(make('p', { class: 'note' }, sentenceOf(trace.event.sentence ?? 'the broker does not keep this event any more')));
  const { connection, silent = [] } = trace;
  if (connection) {
    parts.push(make('p', { class: 'verdict', 'data-mood': reasonMood(connection.reason) },
      make('strong', {}, reasonWord(connection.reason)), ' ', connection.sentence ? sentenceOf(connection.sentence) : ''));
  }
  if (silent.length) parts.push(make('p', { class: 'note' }, `No answer from ${plural(silent.length, 'process', 'processes')}: their part of the path is missing.`));
  byId('trace-words').replaceChildren(...parts);
  byId('trace-details').replaceChildren(...unknowns(trace.gateways ?? []), ...details(connection?.details));
  redraw();
}

function redraw() {
  const frame = byId('trace-picture');
  frame.replaceChildren(...(shown.event?.known === false ? [] : [drawing(shown, Math.max(260, Math.floor(frame.clientWidth)))]));
}

/** How many gateways are named in front of a sentence. */
const NAMED = 5;

/** What gateways cannot say, each sentence once. */
function unknowns(gateways) {
  const who = new Map();
  for (const { instance: id, unknown } of gateways) {
    if (unknown) who.set(unknown, [...(who.get(unknown) ?? []), instance(id)]);
  }
  return [...who].map(([sentence, names]) => {
    const more = names.length > NAMED ? ` and ${count(names.length - NAMED)} more` : '';
    return make('p', { class: 'hint' }, make('code', {}, names.slice(0, NAMED).join(', ')), `${more}: ${sentenceOf(sentence)}`);
  });
}

/** What is known of the connection. */
function details(known) {
  if (!known) return [];
  const row = (name, value) => (value === null || value === undefined || value === '' ? null : make('div', {}, make('dt', {}, name), make('dd', {}, value)));
  const code = known.code ? [`${known.code} `, closeWord(`${known.code}`)] : null;
  const groups = (known.groups ?? []).flatMap((group, at) => [at ? ', ' : '', named(group)]);
  if (known.groups_left_out > 0) groups.push(` and ${count(known.groups_left_out)} more`);
  return [make('h3', {}, 'The connection'), make('dl', { class: 'details' },
    row('State', known.state === 'live' ? 'connected' : 'ended'), row('User', known.user && named(known.user)), row('Address', known.address),
    row('Opened', known.opened && clock(known.opened, true)), row('Ended', known.ended && clock(known.ended, true)), row('Code', code && make('span', {}, ...code)),
    row('Waiting to be written', known.waiting_bytes > 0 ? bytes(known.waiting_bytes) : null), row('Sent', bytes(known.sent_bytes)),
    row('First position', known.first_position && make('code', {}, known.first_position)), row('Last position', known.last_position && make('code', {}, known.last_position)),
    row('Came back as', known.resumed_as && make('code', {}, `${known.resumed_as.worker}/${known.resumed_as.connection}`)),
    row('Groups', groups.length ? make('span', {}, ...groups) : null))];
}

/** Fills the form, so that it asks about a position or a connection. */
export function traceLater({ position, connection }) {
  if (position) byId('trace-position').value = position;
  if (connection) byId('trace-connection').value = connection;
  byId('trace').scrollIntoView();
  (byId('trace-position').value ? byId('trace-submit') : byId('trace-position')).focus();
}

async function trace(event) {
  event.preventDefault();
  const problem = byId('trace-problem');
  const query = new URLSearchParams({ position: byId('trace-position').value.trim() });
  const typed = byId('trace-connection').value.trim();
  if (typed) {
    const address = readAddress(typed);
    if (!address) return say(problem, `${typed} is not a connection: accepted are WORKER/CONNECTION, such as 4735311121432576/7`);
    query.set('worker', address[0]);
    query.set('connection', address[1]);
  }
  say(problem, '');
  byId('trace-result').hidden = true;
  const answer = await get(`trace?${query}`);
  if (!answer.ok) return say(problem, answer.sentence);
  showTrace(answer.value);
  byId('trace-result').focus();
}

export function watchTrace() {
  byId('trace-form').addEventListener('submit', trace);
  let width = 0;
  new ResizeObserver(() => {
    const now = byId('trace-picture').clientWidth;
    if (shown && now > 0 && now !== width) {
      width = now;
      redraw();
    }
  }).observe(byId('trace-picture'));
}
