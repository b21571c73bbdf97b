// Shared by the tests of the client.

import { afterEach, beforeEach, mock } from 'node:test';

const { setTimeout, clearTimeout } = globalThis;

/** Stands in for the platform's timers. */
export class Clock {
  #now = 0;
  #timers = new Map();
  #lastId = 0;

  setTimeout = (call, delay) => {
    // As in Node, no timer is due at once.
    this.#timers.set(++this.#lastId, { call, due: this.#now + Math.max(delay, 1) });
    return this.#lastId;
  };

  clearTimeout = (id) => {
    this.#timers.delete(id);
  };

  /** Moves the clock by so many milliseconds, and calls the timers that are due by then, in order. */
  pass(milliseconds) {
    const end = this.#now + milliseconds;
    for (let next; (next = this.#firstUntil(end)) !== undefined;) {
      const { call, due } = this.#timers.get(next);
      this.#timers.delete(next);
      this.#now = due;
      call();
    }
    this.#now = end;
  }

  #firstUntil(end) {
    const due = [...this.#timers].filter(([, timer]) => timer.due <= end);
    return due.sort(([, a], [, b]) => a.due - b.due)[0]?.[0];
  }
}

/** A websocket whose gateway is the test. `sockets` gets every one that is opened, the newest last. */
export const fakeWebSocket = (sockets) => class {
  sent = [];
  isClosed = false;

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    sockets.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.isClosed = true;
  }

  /** The gateway's side. */
  say(...messages) {
    for (const message of messages) this.onmessage?.({ data: JSON.stringify(message) });
  }

  end(code, reason = '') {
    this.onclose?.({ code, reason });
  }
};

/** Gives each test a new clock, and `random` in place of `Math.random`; and puts everything back after it. */
export function withClock(begin, random = () => 0) {
  beforeEach(() => {
    mock.method(Math, 'random', random);
    const clock = new Clock();
    globalThis.setTimeout = clock.setTimeout;
    globalThis.clearTimeout = clock.clearTimeout;
    begin(clock);
  });
  afterEach(() => {
    Object.assign(globalThis, { setTimeout, clearTimeout });
    mock.restoreAll();
  });
}

/** Lets all promises that are settled be noticed. */
export async function settle() {
  for (let turn = 0; turn < 10; turn++) await null;
}
