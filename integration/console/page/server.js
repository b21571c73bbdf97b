// Asks the server. Every answer is a value or a sentence.

/** How long an answer may take, in milliseconds. A host that is gone never says so. */
const ANSWER_LIMIT = 20_000;

/** Other ports of this host get the cookie of the session, but not what is stored here. */
const PROOF = 'campanile-proof';

/** Keeps what shows that a change is from this page. */
export const keepProof = (proof) => localStorage.setItem(PROOF, proof);

let signedOut = () => {};

/** What happens when the server does not know the session any more. */
export const whenSignedOut = (callback) => {
  signedOut = callback;
};

const proven = () => ({ [PROOF]: localStorage.getItem(PROOF) ?? '' });

async function ask(path, options) {
  let response;
  try {
    const signal = AbortSignal.timeout(ANSWER_LIMIT);
    response = await fetch(path, { cache: 'no-store', credentials: 'same-origin', redirect: 'error', signal, ...options });
  } catch {
    return { ok: false, status: 0, sentence: 'This publisher does not answer.' };
  }
  const text = await response.text().catch(() => '');
  const isJson = response.headers.get('content-type')?.startsWith('application/json');
  if (response.ok) return { ok: true, status: response.status, value: isJson && text ? JSON.parse(text) : null };
  if (response.status === 401 && !path.startsWith('console/session')) signedOut();
  const what = text.trim() || response.statusText;
  return { ok: false, status: response.status, sentence: `${response.status}: ${what}` };
}

export const get = (path) => ask(path, {});
export const remove = (path) => ask(path, { method: 'DELETE', headers: proven() });

/** Posts a form. What is in it is never in a URL. */
export const post = (path, fields) => ask(path, { method: 'POST', headers: proven(), body: new URLSearchParams(fields) });
