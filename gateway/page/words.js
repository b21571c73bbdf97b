// The words and addresses of the page: pure functions, without the DOM.

const DEFAULT_PUBLISHER_PORT = 4237;
/** Many servers refuse a request head above 8 KiB, and other headers need room, too. */
const MAX_GROUPS_IN_URL_CHARS = 4_000;
/** Laying out the page's messages, if they had a megabyte each, would freeze it. */
const MAX_SHOWN_CHARS = 20_000;
const BINARY_PREVIEW_BYTES = 48;

/** The meaning of close codes that came without a reason. */
const CLOSES = {
  1002: 'protocol error',
  1003: 'this kind of data is not accepted',
  1006: 'no answer',
  1007: 'invalid UTF-8',
  1008: 'policy violation',
  1009: 'message too large',
  4001: 'this page read too slowly',
};

/** The reasons of gaps, in words. */
const GAPS = {
  epoch_changed: 'the broker started a new log',
  expired: 'the broker has already dropped them',
  too_far: 'there were too many to send again',
  malformed: 'the gateway could not read the position',
};

/** @typedef {{kind: 'everyone'} | {kind: 'group', group: string} | {kind: 'connection', worker: number, connection: number}} Audience */

export function describeClose({ code, reason }) {
  const meaning = reason || CLOSES[code];
  return meaning ? `${code}: ${meaning}` : `${code}`;
}

export const describeGap = (reason) => (GAPS[reason] ? `${GAPS[reason]} (${reason})` : reason);

/** A query with %20 for a space, which everything that reads URLs understands; + is for forms only. */
const query = (parameters) => new URLSearchParams(parameters).toString().replaceAll('+', '%20');
const groupQuery = (groups) => query(groups.map((group) => ['group', group]));

/** The first groups, as many as fit into a URL. */
export function groupsForUrl(groups) {
  let chars = 0;
  return groups.filter((group) => (chars += groupQuery([group]).length + 1) <= MAX_GROUPS_IN_URL_CHARS);
}

/** The websocket address of the gateway that served `page`, which may be behind a proxy and below a path. */
export function socketUrl(page) {
  const url = new URL('.', page);
  url.protocol = url.protocol.replace('http', 'ws');
  return url.href;
}

/** The address of that gateway's event stream for everyone and a group. Never contains a single quote. */
export function eventsUrl(page, group) {
  const url = new URL('events', page);
  url.search = groupQuery([group]);
  return url.href.replaceAll("'", '%27');
}

/** The earlier events that the page's address asks for: `?since=first` or `?last=N`; none if it is wrong. */
export function historyWanted(parameters) {
  if (parameters.get('since') === 'first') return { since: 'first' };
  const last = Number(parameters.get('last'));
  return Number.isInteger(last) && last >= 1 && last <= 1_000 ? { last } : {};
}

export function describeHistory({ events, complete }) {
  const kept = events === 0 ? 'There are no earlier events to show' : `${plural(events, 'earlier event')} from the log`;
  return complete ? `${kept}.` : `${kept}; there were older ones.`;
}

/** The address of `page` with other groups; all other parameters stay. */
export function pageUrl(page, groups) {
  const url = new URL(page);
  const others = [...url.searchParams].filter(([name]) => name !== 'group');
  url.search = [query(others), groupQuery(groups)].filter(Boolean).join('&');
  return url.href;
}

/** The publisher's address: the configured URL, or `:PORT` or the default port on the host of `page`. */
export function publisherUrl(page, configured) {
  if (configured && !configured.startsWith(':')) return new URL(configured).href;
  const url = new URL('/', page);
  url.port = configured.slice(1) || DEFAULT_PUBLISHER_PORT;
  return url.href;
}

/** The address that pushes `content` to `audience`, or without `content`, the one to POST it to. Never contains a single quote. */
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
  if (position === undefined) return `accepted: written to ${plural(written, 'connection')}`;
  const reach = matched === undefined
    ? 'accepted before; how many listened is not known any more'
    : `accepted: matched ${plural(matched, 'connection')} on ${plural(gateways, 'gateway')}`;
  return `${reach} (durability ${durability}, position ${position})`;
}

export function describeBinary(bytes) {
  const hex = Array.from(bytes.subarray(0, BINARY_PREVIEW_BYTES), (byte) => byte.toString(16).padStart(2, '0')).join(' ');
  return `${plural(bytes.length, 'byte')}, binary: ${hex}${bytes.length > BINARY_PREVIEW_BYTES ? ' …' : ''}`;
}

export function describeText(text) {
  const more = text.length - MAX_SHOWN_CHARS;
  return more > 0 ? `${text.slice(0, MAX_SHOWN_CHARS)} … and ${plural(more, 'more character')}` : text;
}

/** The kind and the label of a received event's audience. */
export function describeAudience(to) {
  if (typeof to !== 'string') return Object.entries(to)[0];
  return [to, to === 'connection' ? 'this connection' : to];
}
