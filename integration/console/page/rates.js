// What happened lately: the samples of the charts, as the server says them, and what each process did per second,
// from counters that are read every second. Pure, without the DOM.

/** How long samples are kept. */
const KEPT_SECONDS = 15 * 60;
/** How much time a sample stands for that the server has kept. */
const STEP_SECONDS = 5;
const MINUTE = 60;

const number = (value) => (Number.isFinite(value) ? value : 0);
const total = (values) => values.reduce((sum, value) => sum + value, 0);
const growth = (now, before) => Math.max(0, number(now) - number(before));

/** How many connections a gateway has. */
export const connectionsOf = ({ connections, workers }) =>
  (connections ? total(Object.values(connections).map(number)) : total((workers ?? []).map((worker) => number(worker.connections))));

const pushesWith = ({ totals }, isMeant) =>
  total((totals?.pushes ?? []).filter(({ result }) => isMeant(`${result}`)).map(({ count }) => number(count)));
const acceptedOf = (publisher) => pushesWith(publisher, (result) => result === '200');
/** Whoever has gone before the answer was not refused. */
const refusedOf = (publisher) => pushesWith(publisher, (result) => result !== '200' && result !== 'none');

/** The counters of a process that are shown by name. */
function named(process) {
  const counters = new Map();
  for (const kind of ['closed', 'refused', 'limits', 'gaps']) {
    for (const [name, value] of Object.entries(process.totals?.[kind] ?? {})) counters.set(`${kind} ${name}`, number(value));
  }
  return counters;
}

export class History {
  /** One sample per second, and one per 5 s from before this page, the oldest first. A second without an answer has no values. */
  samples = [];
  #last = new Map();
  #minute = [];
  #rates = new Map();

  /** Notes that nobody answered. */
  missed(at) {
    this.#keep({ at });
  }

  /** Adds what the server has kept, where nothing is known yet. */
  recall(kept, now) {
    const isKnown = (at) => this.samples.some((own) => Math.abs(own.at - at) < STEP_SECONDS);
    const recalled = kept.map(({ age, ...values }) => ({ ...values, at: now - age })).filter(({ at }) => !isKnown(at));
    this.samples = [...recalled, ...this.samples].sort((one, other) => one.at - other.at);
  }

  /** Adds what a cluster has answered, and what the server makes of it for the charts. */
  add(cluster, sample, at) {
    const changes = new Map();
    const last = new Map();
    this.#rates = new Map();
    const each = (process, role, counters) => {
      const key = `${role} ${process.instance}`;
      const before = this.#last.get(key);
      last.set(key, { process, at });
      if (!before) return;
      const elapsed = Math.max(0.2, at - before.at);
      const rates = counters(process).map((value, index) => growth(value, counters(before.process)[index]) / elapsed);
      this.#rates.set(process.instance, rates);
      const old = named(before.process);
      for (const [name, value] of named(process)) {
        const more = growth(value, old.get(name));
        if (more > 0) changes.set(name, (changes.get(name) ?? 0) + more);
      }
    };
    for (const gateway of cluster.gateways ?? []) {
      each(gateway, 'gateway', ({ totals, cpu_seconds }) => [totals?.deliveries, totals?.delivered_bytes, cpu_seconds]);
    }
    for (const publisher of cluster.publishers ?? []) {
      each(publisher, 'publisher', (it) => [acceptedOf(it), refusedOf(it), it.cpu_seconds]);
    }
    // A process that is silent for a second is not new when it answers again.
    for (const [key, old] of this.#last) if (!last.has(key) && at - old.at < MINUTE) last.set(key, old);
    this.#last = last;
    this.#minute = [...this.#minute, { at, changes }].filter((one) => at - one.at < MINUTE);
    this.#keep({ ...sample, at });
  }

  /** What a process did per second: of a gateway deliveries, bytes and CPU, of a publisher accepted and refused pushes and CPU. */
  ratesOf(instance) {
    return this.#rates.get(instance) ?? [null, null, null];
  }

  /** How much a counter, such as `closed 4001`, has grown within the last minute. */
  lastMinute(name) {
    return total(this.#minute.map(({ changes }) => changes.get(name) ?? 0));
  }

  #keep(sample) {
    this.samples.push(sample);
    const first = this.samples.findIndex(({ at }) => sample.at - at <= KEPT_SECONDS);
    this.samples.splice(0, first);
  }
}
