// The words and numbers of the page: pure functions, without the DOM.

/** The meaning of close codes. */
const CLOSES = {
  1000: 'closed by the client',
  1001: 'the gateway shut down, or an operator let it reconnect',
  1002: 'the client broke the protocol',
  1007: 'the client sent invalid UTF-8',
  1008: 'refused for good, or too many errors of the client',
  1009: 'the client sent too large a message',
  1011: 'the client was silent for too long',
  1013: 'try again later: no broker, no room for more groups, or no keys yet',
  4001: 'the client read too slowly',
  4401: 'no valid token',
  4403: 'not allowed, or disconnected by an operator',
  4429: 'too many messages, or too many connections',
  other: 'went away without a close, or was cut',
};

/** What closed a connection. */
const CAUSES = {
  client: 'closed by the client',
  not_utf8: 'the client sent invalid UTF-8',
  message_too_big: 'the client sent too large a message',
  protocol_violated: 'the client broke the protocol',
  going_away: 'the gateway shut down',
  too_many_errors: 'too many errors of the client',
  silent: 'the client was silent for too long',
  no_broker: 'the gateway had no broker for too long',
  unconfirmed: 'the broker did not confirm a group in time',
  gateway_full: 'the gateway had no room for more groups',
  no_keys: 'the gateway had no keys for tokens yet',
  too_slow: 'the client read too slowly',
  rate_limited: 'too many messages',
  no_valid_token: 'no valid token',
  token_expired: 'the token expired',
  token_revoked: 'the token was put on the deny list',
  not_allowed: 'not allowed to connect, or to listen to a group',
  user_denied: 'the user was put on the deny list',
  too_many_unauthenticated: 'too many clients without a token',
  operator: 'disconnected by an operator',
};

/** Causes of an ordinary end. */
const CALM_CAUSES = new Set(['client', 'going_away', 'operator']);

/** How clients are spoken to. */
const DIALECTS = { plain: 'plain websocket', v1: 'campanile.v1', events: 'event stream' };

/** The meaning of refusals, by status or close code. */
const REFUSALS = {
  ...CLOSES,
  400: 'malformed request',
  401: 'no valid token',
  403: 'not allowed',
  404: 'nothing at this path',
  405: 'wrong method',
  408: 'too slow to send its request',
  426: 'another version of websockets',
  429: 'too many connections',
  431: 'too large a head',
  503: 'no broker, or no room',
  1008: 'refused for good',
  come_back: 'an event stream that was sent away for now',
};

/** The reasons of a trace, in words. */
const REASONS = {
  written: 'It was written.',
  waiting: 'It waits to be written.',
  not_listening: 'It was not listening.',
  connected_later: 'It connected later.',
  closed_before: 'It was closed before.',
  closed_while_waiting: 'It was closed while the event waited.',
  recovered_by_replay: 'It got it later, by a replay.',
  not_recovered: 'It came back, and could not get it.',
  excluded: 'It was excluded by the push.',
  not_kept_any_more: 'This is not known any more.',
  unknown_connection: 'Nobody knows this connection.',
  gateway_away: 'Its gateway has no link to the broker now.',
};

const GOOD_REASONS = new Set(['written', 'recovered_by_replay']);
const CALM_REASONS = new Set(['waiting', 'excluded', 'not_kept_any_more', 'connected_later', 'not_listening']);

const word = (words, key) => (Object.hasOwn(words, key) ? words[key] : '');

export const closeWord = (code) => word(CLOSES, code);
/** Why a connection ended. Earlier releases only say the code, which is 0 if nobody sent one. */
export const endWord = ({ cause, code }) => word(CAUSES, cause) || word(CLOSES, code || 'other');
export const endMood = ({ cause, code }) => (CALM_CAUSES.has(cause) || (!cause && code <= 1_001) ? 'none' : 'bad');
export const dialectWord = (dialect) => word(DIALECTS, dialect) || (dialect ?? '–');
export const refusalWord = (reason) => word(REFUSALS, reason);
export const reasonWord = (reason) => word(REASONS, reason) || reason;
export const reasonMood = (reason) => (GOOD_REASONS.has(reason) ? 'good' : CALM_REASONS.has(reason) ? 'wait' : 'bad');

/** The name of a limit, which is that of its setting. */
export const limitWord = (limit) => limit.replaceAll('_', ' ');

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { maximumSignificantDigits: 3, notation: 'compact' });

/** A count, with commas. */
export const count = (number) => (number === null || number === undefined ? '–' : whole.format(number));

/** A count in few characters. */
export const brief = (number) => {
  if (number === null || number === undefined) return '–';
  return Math.abs(number) < 10_000 ? whole.format(number) : short.format(number);
};

/** A rate per second, with one decimal below 10. */
export const rate = (number) => {
  if (number === null || number === undefined) return '–';
  return number > 0 && number < 9.95 ? number.toFixed(1) : brief(number);
};

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function bytes(number) {
  if (number === null || number === undefined) return '–';
  let unit = 0;
  while (number >= 1_000 && unit < UNITS.length - 1) {
    number /= 1_024;
    unit += 1;
  }
  return `${number < 9.95 && unit > 0 ? number.toFixed(1) : Math.round(number)} ${UNITS[unit]}`;
}

/** A duration in seconds, of which the largest unit counts. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 0.000_95) return `${Math.round(seconds * 1_000_000)} µs`;
  if (seconds < 0.009_95) return `${(seconds * 1_000).toFixed(1)} ms`;
  if (seconds < 0.995) return `${Math.round(seconds * 1_000)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 2 * 3_600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 2 * 86_400) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** How long ago something was, in whole seconds at least. */
export const ago = (seconds) => `${seconds < 10 ? `${Math.max(0, Math.round(seconds))} s` : duration(seconds)} ago`;

const two = (number) => `${number}`.padStart(2, '0');

/** The time of day, where this page is; with milliseconds where it matters. */
export function clock(unix, precise = false) {
  if (unix === null || unix === undefined) return '–';
  const date = new Date(unix * 1_000);
  const text = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return precise ? `${text}.${`${date.getMilliseconds()}`.padStart(3, '0')}` : text;
}

/** The beginning of an instance's id, which is enough to tell it from others. */
export const instance = (id) => `${id ?? '?'}`.slice(0, 8);

/** How far a link is behind. */
export const lag = (behind) => {
  if (!behind) return 'lag unknown';
  return behind.events > 0 ? `${brief(behind.events)} behind` : 'up to date';
};

export const lagMood = (behind) => {
  if (!behind) return 'none';
  if (behind.events > 10_000 || behind.bytes > 16 << 20) return 'bad';
  return behind.events > 100 || behind.bytes > 1 << 20 ? 'wait' : 'good';
};

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Cut to a number of characters, with an ellipsis. */
export const cut = (text, chars) => (text.length > chars ? `${text.slice(0, Math.max(1, chars - 1))}…` : text);

/** The address of a connection as somebody types it: `W/C`, `W C`, or the greeting of a plain websocket. */
export function readAddress(text) {
  const numbers = text.match(/\d+/g) ?? [];
  return numbers.length === 2 && numbers.every((number) => number.length <= 20) ? numbers : null;
}

export const describeAudience = (audience) => {
  if (audience === null || audience === undefined) return 'unknown';
  if (typeof audience === 'string') return audience;
  if (audience.group !== undefined) return `the group ${audience.group}`;
  if (audience.user !== undefined) return `the user ${audience.user}`;
  return JSON.stringify(audience);
};

/** Why there are no numbers, in two words, by the reason that the server gives. */
export const unavailableWord = (reason) => (['no_broker', 'link_lost'].includes(reason) ? 'no broker' : 'no answer');

/** What the server says, as a sentence of its own. */
export const sentenceOf = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
