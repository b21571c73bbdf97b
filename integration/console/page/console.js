// The operator's page: signs in, and shows what the cluster does.

import { allowChanges, watchActions } from './actions.js';
import { showCharts } from './charts.js';
import { announce, byId, say } from './dom.js';
import { showEnded } from './ended.js';
import { showPicture, watchPicture } from './picture.js';
import { History } from './rates.js';
import { get, keepProof, post, remove, whenSignedOut } from './server.js';
import { Silence } from './silence.js';
import { showTables } from './tables.js';
import { traceLater, watchTrace } from './trace.js';
import { clock, sentenceOf, unavailableWord } from './words.js';

const SESSION_OVER = 4401;
/** How long until the next attempt to connect, in seconds. */
const PAUSES = [1, 2, 4, 8];

const history = new History();
const silence = new Silence();
let socket = null;
let failures = 0;
let retry = 0;
let shownAt = null;

const WORDS = {
  connecting: 'connecting',
  live: 'live',
  lost: 'not reachable',
  out: 'signed out',
  shut: 'closed',
};

function setState(state, word = WORDS[state]) {
  const pill = byId('state');
  if (pill.dataset.state === state && pill.textContent === word) return;
  pill.dataset.state = state;
  say(pill, word);
  document.title = state === 'live' ? 'Campanile console' : `${word} – Campanile console`;
}

function showBanner(text) {
  byId('banner').hidden = !text;
  const since = shownAt ? ` What is below is of ${clock(shownAt)}.` : '';
  say(byId('banner'), text ? `${text}${since}` : '');
  byId('console').classList.toggle('stale', Boolean(text));
}

// What the cluster does.

function show(message) {
  const now = Date.now() / 1_000;
  if (message.history !== undefined) return history.recall(message.history, now);
  if (message.unavailable !== undefined) {
    history.missed(now);
    setState('unavailable', unavailableWord(message.reason));
    showBanner(sentenceOf(`${message.unavailable}`));
  } else {
    shownAt = now;
    history.add(message.cluster, message.sample, now);
    setState('live');
    showBanner('');
    byId('waiting').hidden = true;
    showPicture(message.cluster, history);
    showTables(message.cluster, history);
    showEnded(message.closed, message.cluster.time);
  }
  showCharts(history.samples, now);
}

function connect() {
  clearTimeout(retry);
  if (socket) return;
  setState(failures ? 'lost' : 'connecting');
  const url = new URL('console/live', document.baseURI);
  url.protocol = url.protocol.replace('http', 'ws');
  const opened = new WebSocket(url);
  socket = opened;
  silence.heard(seconds());
  opened.onopen = () => {
    failures = 0;
  };
  opened.onmessage = ({ data }) => {
    if (socket !== opened) return;
    silence.heard(seconds());
    show(JSON.parse(data));
  };
  opened.onclose = ({ code }) => {
    if (socket !== opened) return;
    socket = null;
    if (code === SESSION_OVER) return start('The session is over: sign in again.');
    lost();
  };
}

function lost() {
  failures += 1;
  setState('lost');
  showBanner('This publisher does not answer. The page tries again by itself.');
  retry = setTimeout(again, PAUSES[Math.min(failures, PAUSES.length) - 1] * 1_000);
}

const seconds = () => performance.now() / 1_000;

/** A host that is gone does not end its connections. */
function listenForSilence() {
  if (!socket || !silence.isTooLong(seconds())) return;
  disconnect();
  lost();
}

/** A websocket does not say why it was refused, but the session does. */
async function again() {
  const answer = await get('console/session');
  if (answer.ok && answer.value.state !== 'in') return enter(answer.value);
  connect();
}

function disconnect() {
  clearTimeout(retry);
  const old = socket;
  socket = null;
  old?.close();
}

// The session.

const PARTS = ['sign-in', 'shut', 'console'];

function showPart(part) {
  for (const id of PARTS) byId(id).hidden = id !== part;
  byId('parts').hidden = part !== 'console';
}

function enter(session, sentence) {
  byId('who').hidden = !session.key;
  say(byId('who-name'), session.key ?? '');
  say(byId('version'), session.version ? `Campanile ${session.version}` : '');
  if (session.state === 'in') {
    showPart('console');
    allowChanges(session.manage);
    return connect();
  }
  disconnect();
  setState(session.state);
  if (session.state === 'shut') {
    showPart('shut');
    return say(byId('shut-sentence'), sentenceOf(session.sentence));
  }
  showPart('sign-in');
  say(byId('sign-in-problem'), sentence ?? (session.sentence ? sentenceOf(session.sentence) : ''));
  byId('sign-in-key').focus();
}

async function start(sentence) {
  disconnect();
  const answer = await get('console/session');
  if (answer.ok) return enter(answer.value, sentence);
  setState('lost');
  showPart('shut');
  say(byId('shut-sentence'), `${answer.sentence} The page tries again by itself.`);
  retry = setTimeout(start, 4_000);
}

async function signIn(event) {
  event.preventDefault();
  const field = byId('sign-in-key');
  const key = field.value;
  byId('sign-in-submit').disabled = true;
  const answer = await post('console/session', { key });
  byId('sign-in-submit').disabled = false;
  if (!answer.ok) {
    say(byId('sign-in-problem'), answer.sentence);
    field.select();
    return;
  }
  keepProof(answer.value.proof);
  field.value = '';
  say(byId('sign-in-problem'), '');
  await start();
  announce('Signed in.');
  byId('main').focus();
}

async function signOut() {
  const answer = await remove('console/session');
  if (answer.ok) await start('You are signed out.');
  else announce(answer.sentence);
}

byId('sign-in-form').addEventListener('submit', signIn);
byId('sign-out').addEventListener('click', signOut);
whenSignedOut(() => start('The session is over: sign in again.'));
setInterval(listenForSilence, 1_000);
watchActions();
watchPicture();
watchTrace();
const linked = new URLSearchParams(location.hash.slice(1)).get('trace');
start().then(() => linked && traceLater({ position: linked }));
