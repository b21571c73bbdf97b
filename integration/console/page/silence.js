// Whether messages are missing: pure, without the DOM.

/** How long the server may say nothing, in seconds. It says something every second, or after 4 s that nobody answers. */
const LIMIT_SECONDS = 10;

export class Silence {
  #since;

  /** The server has said something, or begins to. */
  heard(at) {
    this.#since = at;
  }

  isTooLong(now) {
    return now - this.#since > LIMIT_SECONDS;
  }
}
