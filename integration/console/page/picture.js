// The cluster as a picture: publishers above, the broker in the middle, gateways with their workers below.

import { byId, draw, make, named, row, say } from './dom.js';
import { connectionsOf } from './rates.js';
import { grid, text, tile, wires } from './tiles.js';
import { brief, bytes, count, duration, instance, lag, lagMood, plural, rate } from './words.js';

/** How many tiles of a kind are drawn large. */
const FEW = 8;
const SIZES = {
  large: { least: 180, most: 300, height: 98, rail: 34 },
  small: { least: 140, most: 200, height: 62, rail: 20 },
};
const BROKER_HEIGHT = 96;
/** Which share of refused pushes makes a publisher stand out. */
const REFUSED_SHARE = 0.01;
/** How many workers of a gateway are drawn. */
const MOST_WORKERS = 32;

const sizeFor = (tiles, width) => (tiles > FEW || width < 420 ? SIZES.small : SIZES.large);

function hindranceOf({ hindrance, ready }) {
  return hindrance?.replaceAll('_', ' ') ?? (ready === false ? 'not ready' : null);
}

/** A process that cannot be asked: the broker knows its link, and nothing else. */
function unaskedTile(process, place, isLarge, role) {
  const { width } = place;
  const behind = lag(process.lag);
  return tile({ ...place, title: `${role} ${process.instance}, of an earlier release that cannot be asked, ${behind}`, kind: 'unasked' },
    text(isLarge ? 12 : 10, isLarge ? 21 : 19, instance(process.instance), 'name'),
    text(isLarge ? 12 : 10, isLarge ? 38 : 37, 'an earlier release', 'small', { room: width - 20 }),
    text(isLarge ? 12 : 10, isLarge ? 79 : 54, behind, 'small state', { room: width - 20 }));
}

/** One bar per worker, as high as its share of the largest one. */
function bars(workers, { x, y, width, height }) {
  const shown = workers.slice(0, MOST_WORKERS);
  const most = Math.max(1, ...shown.map(({ connections }) => connections ?? 0));
  const step = Math.min(10, width / Math.max(1, shown.length));
  return shown.map(({ connections = 0, outbox_bytes: waiting = 0 }, at) => {
    const high = Math.max(2, (height * connections) / most);
    return draw('rect', {
      class: 'bar', 'data-mood': waiting > 1 << 20 ? 'wait' : 'none',
      x: x + at * step, y: y + height - high, width: Math.max(1, step - 2), height: high, rx: 1,
    });
  });
}

function gatewayTile(gateway, place, isLarge, history) {
  if (gateway.asked === false) return unaskedTile(gateway, place, isLarge, 'gateway');
  const [deliveries] = history.ratesOf(gateway.instance);
  const workers = gateway.workers ?? [];
  const hindrance = hindranceOf(gateway);
  const behind = lag(gateway.lag);
  const connections = connectionsOf(gateway);
  const mood = hindrance ? 'bad' : lagMood(gateway.lag) === 'good' ? 'none' : lagMood(gateway.lag);
  const title = `gateway ${gateway.instance}${gateway.address ? ` at ${gateway.address}` : ''}: ${plural(connections, 'connection')}, `
    + `${plural(workers.length, 'worker')}, ${rate(deliveries)} deliveries per second, ${behind}${hindrance ? `, ${hindrance}` : ''}`;
  const { width } = place;
  const side = width - 12;
  if (!isLarge) {
    return tile({ ...place, mood, title, kind: 'gateway' },
      text(10, 19, instance(gateway.instance), 'name', { room: width - 20 - 7 * 7.6 }),
      text(side, 19, brief(connections), 'figure', { end: true }),
      ...bars(workers, { x: 10, y: 27, width: width * 0.42, height: 12 }),
      text(side, 37, `${rate(deliveries)}/s`, 'small', { end: true }),
      text(10, 54, hindrance ?? behind, 'small state', { room: width - 20 }));
  }
  return tile({ ...place, mood, title, kind: 'gateway' },
    text(12, 21, instance(gateway.instance), 'name'),
    text(side, 21, hindrance ?? behind, 'small state', { end: true, room: width - 24 - 8 * 7.6 - 8 }),
    text(12, 38, gateway.address ?? '', 'small', { room: width - 24 }),
    text(12, 62, count(connections), 'figure'),
    text(12, 79, connections === 1 ? 'connection' : 'connections', 'small'),
    text(side, 62, `${rate(deliveries)}/s`, 'figure', { end: true }),
    text(side, 79, 'deliveries', 'small', { end: true }),
    ...bars(workers, { x: width / 2 - Math.min(5 * Math.min(workers.length, MOST_WORKERS), width * 0.14), y: 50, width: width * 0.28, height: 30 }));
}

function publisherTile(publisher, place, isLarge, history) {
  if (publisher.asked === false) return unaskedTile(publisher, place, isLarge, 'publisher');
  const [accepted, refused] = history.ratesOf(publisher.instance);
  const hindrance = hindranceOf(publisher);
  const title = `publisher ${publisher.instance}${publisher.address ? ` at ${publisher.address}` : ''}: ${rate(accepted)} pushes per second accepted, `
    + `${rate(refused)} refused, ${plural(publisher.in_flight ?? 0, 'push', 'pushes')} in flight, ${lag(publisher.lag)}${hindrance ? `, ${hindrance}` : ''}`;
  const { width } = place;
  const side = width - 12;
  const isRefusing = refused > REFUSED_SHARE * (accepted + refused);
  const state = hindrance ?? (isRefusing ? `${rate(refused)}/s refused` : lag(publisher.lag));
  const mood = hindrance ? 'bad' : isRefusing ? 'wait' : 'none';
  if (!isLarge) {
    return tile({ ...place, mood, title, kind: 'publisher' },
      text(10, 19, instance(publisher.instance), 'name', { room: width - 20 }),
      text(10, 37, 'accepted', 'small'),
      text(side, 37, `${rate(accepted)}/s`, 'figure', { end: true }),
      text(10, 54, state, 'small state', { room: width - 20 }));
  }
  return tile({ ...place, mood, title, kind: 'publisher' },
    text(12, 21, instance(publisher.instance), 'name'),
    text(side, 21, state, 'small state', { end: true, room: width - 24 - 8 * 7.6 - 8 }),
    text(12, 38, publisher.address ?? '', 'small', { room: width - 24 }),
    text(12, 62, brief(publisher.in_flight), 'figure'),
    text(12, 79, 'in flight', 'small'),
    text(side, 62, `${rate(accepted)}/s`, 'figure', { end: true }),
    text(side, 79, 'accepted', 'small', { end: true }));
}

function brokerTile(broker, place) {
  const { log = {}, durability } = broker ?? {};
  const side = place.width - 14;
  const isWaiting = Boolean(broker?.disk_waits);
  const kept = { disk: 'on disk', written: 'on disk, written without waiting for it' }[durability] ?? 'in memory only';
  const title = `broker ${broker?.version ?? ''}, up for ${duration(broker?.uptime)}, ${plural(log.events ?? 0, 'event')} kept`;
  const room = place.width - 28;
  return tile({ ...place, mood: isWaiting ? 'bad' : 'none', title, kind: 'broker' },
    text(14, 24, 'Broker', 'name strong'),
    text(side, 24, isWaiting ? 'waits for its disk' : `up ${duration(broker?.uptime)}`, 'small state', { end: true }),
    text(14, 50, count(log.events), 'figure'),
    text(14, 66, `${log.events === 1 ? 'event' : 'events'} ${kept}`, 'small', { room: room * 0.68 }),
    text(side, 50, bytes(log.bytes), 'figure', { end: true }),
    text(side, 66, log.max_bytes ? `of ${bytes(log.max_bytes)}` : '', 'small', { end: true }),
    draw('rect', { class: 'meter', x: 14, y: 77, width: Math.max(0, room), height: 5, rx: 2.5 }),
    draw('rect', {
      class: 'meter full', x: 14, y: 77, height: 5, rx: 2.5,
      width: Math.max(0, Math.min(1, log.max_bytes ? (log.bytes ?? 0) / log.max_bytes : 0) * room),
    }));
}

/** The picture, as wide as a number of pixels. */
function picture(cluster, width, history) {
  const [gateways, publishers] = [cluster.gateways ?? [], cluster.publishers ?? []];
  const pad = 2;
  const inner = width - 2 * pad;
  const kinds = [[publishers, publisherTile], [gateways, gatewayTile]].map(([processes, make]) => {
    const size = sizeFor(processes.length, inner);
    return { processes, make, size, isLarge: size === SIZES.large, plan: grid(processes.length, inner, size) };
  });
  const [above, below] = kinds;
  const brokerWidth = Math.min(440, inner);
  const broker = {
    x: pad + (inner - brokerWidth) / 2, y: pad + above.plan.height, width: brokerWidth, height: BROKER_HEIGHT,
  };
  const placed = ({ processes, plan, size }, top, first) => processes.map((process, at) => ({
    ...plan.places[at], x: pad + plan.places[at].x, y: top + plan.places[at].row * plan.pitch + first,
    height: size.height, link: lagMood(process.lag),
  }));
  const publisherPlaces = placed(above, pad, 0);
  const gatewayPlaces = placed(below, broker.y + broker.height, below.size.rail);
  const middle = broker.x + broker.width / 2;
  const svg = draw('svg', { width, height: broker.y + broker.height + below.plan.height + pad, role: 'img', 'aria-label': summary(cluster) });
  svg.append(
    ...wires([middle, broker.y], publisherPlaces, { ...above.plan, rail: above.size.rail, isBelow: false }),
    ...wires([middle, broker.y + broker.height], gatewayPlaces, { ...below.plan, rail: below.size.rail, isBelow: true }),
    ...publishers.map((process, at) => above.make(process, publisherPlaces[at], above.isLarge, history)),
    brokerTile(cluster.broker, broker),
    ...gateways.map((process, at) => below.make(process, gatewayPlaces[at], below.isLarge, history)));
  return svg;
}

const summary = ({ gateways = [], publishers = [] }) =>
  `${plural(publishers.length, 'publisher')}, the broker, and ${plural(gateways.length, 'gateway')} `
  + `with ${plural(gateways.reduce((sum, gateway) => sum + connectionsOf(gateway), 0), 'connection')}`;

let shown;

export function showPicture(cluster, history) {
  shown = { cluster, history };
  const frame = byId('picture');
  const width = Math.floor(frame.clientWidth);
  if (width > 0) frame.replaceChildren(picture(cluster, width, history));
  const silent = cluster.silent ?? [];
  byId('no-gateways').hidden = (cluster.gateways ?? []).length > 0;
  byId('silent').hidden = silent.length === 0;
  say(byId('silent'), `No answer from ${silent.map(silentName).join(', ')}.`);
  say(byId('cluster-summary'), summary(cluster));
  if (byId('processes').open) showProcesses(cluster, history);
}

/** Why a process that was asked has not answered. */
const SILENCES = { silent: ' (not in time)', busy: ' (too busy)', not_understood: ' (of another release)', away: ' (no link to the broker now)' };

const silentName = (one) =>
  `${one.role ?? 'process'} ${instance(one.instance ?? one)}${one.address ? ` at ${one.address}` : ''}${SILENCES[one.reason] ?? ''}`;

function showProcesses(cluster, history) {
  const process = (role, one, connections) => {
    const rates = history.ratesOf(one.instance);
    const cpu = rates[2] === null ? '–' : `${Math.round(rates[2] * 100)} %`;
    return row(role, make('code', {}, instance(one.instance)), named(one.address ?? '–'), one.version ?? '–',
      { number: duration(one.uptime) }, { number: connections }, { number: one.lag ? count(one.lag.events) : '–' },
      { number: cpu }, { number: bytes(one.memory_bytes) });
  };
  byId('process-rows').replaceChildren(
    ...(cluster.publishers ?? []).map((one) => process('publisher', one, count(one.connections))),
    ...(cluster.gateways ?? []).map((one) => process('gateway', one, count(connectionsOf(one)))));
}

export function watchPicture() {
  const again = () => shown && showPicture(shown.cluster, shown.history);
  new ResizeObserver(again).observe(byId('picture'));
  byId('processes').addEventListener('toggle', again);
}
