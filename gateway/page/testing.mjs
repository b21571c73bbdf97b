// Shared by the tests of the client.

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
