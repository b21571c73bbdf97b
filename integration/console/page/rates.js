// What happened per second, from counters that are read every second: pure, without the DOM.

/** How long samples are kept. */
const KEPT_SECONDS = 15 * 60;
/** Latencies are those of this many seconds, because one second may have few. */
const LATENCY_SECONDS = 10;
const MINUTE = 60;

const number = (value) => (Number.isFinite(value) ? value : 0);
const total = (values) => values.reduce((sum, value) => sum + value, 0);
const growth = (now, before) => Math.max(0, number(now) - number(before));

/** The value below which a share of the observations is; null without any. Buckets are [upper bound, count up to it]. */
export function percentile({ buckets, count }, share) {
  if (!(count > 0) || buckets.length === 0) return null;
  const rank = share * count;
  let [lower, below] = [0, 0];
  for (const [upper, upTo] of buckets) {
    if (upTo >= rank && upTo > below) return lower + ((upper - lower) * (rank - below)) / (upTo - below);
    [lower, below] = [upper, upTo];
  }
  return lower;
}

/** What a histogram has gained. */
function gained(now, before) {
  const old = new Map(before?.buckets ?? []);
  const buckets = (now?.buckets ?? []).map(([upper, upTo]) => [upper, growth(upTo, old.get(upper))]);
  return { buckets, count: growth(now?.count, before?.count) };
}

/** Histograms with the same bounds, added. */
export function sum(histograms) {
  const buckets = new Map();
  for (const histogram of histograms) {
    for (const [upper, upTo] of histogram.buckets) buckets.set(upper, (buckets.get(upper) ?? 0) + upTo);
  }
  return {
    buckets: [...buckets].sort(([one], [other]) => one - other),
    count: total(histograms.map(({ count }) => count)),
  };
}

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
  /** One sample per second, the oldest first. A second without an answer has no values. */
  samples = [];
  #last = new Map();
  #latencies = [];
  #minute = [];
  #rates = new Map();

  /** Notes that nobody answered. */
  missed(at) {
    this.#keep({ at });
  }

  /** Adds what a cluster has answered. */
  add(cluster, at) {
    const [gateways, publishers] = [cluster.gateways ?? [], cluster.publishers ?? []];
    const seconds = { at, delivery: [], push: [] };
    const changes = new Map();
    const last = new Map();
    this.#rates = new Map();
    const each = (process, role, histogram, counters) => {
      const key = `${role} ${process.instance}`;
      const before = this.#last.get(key);
      last.set(key, { process, at });
      if (!before) return;
      const elapsed = Math.max(0.2, at - before.at);
      const rates = counters(process).map((value, index) => growth(value, counters(before.process)[index]) / elapsed);
      this.#rates.set(process.instance, rates);
      seconds[histogram].push(gained(process[`${histogram}_seconds`], before.process[`${histogram}_seconds`]));
      const old = named(before.process);
      for (const [name, value] of named(process)) {
        const more = growth(value, old.get(name));
        if (more > 0) changes.set(name, (changes.get(name) ?? 0) + more);
      }
    };
    for (const gateway of gateways) {
      each(gateway, 'gateway', 'delivery', ({ totals, cpu_seconds }) => [totals?.deliveries, totals?.delivered_bytes, cpu_seconds]);
    }
    for (const publisher of publishers) {
      each(publisher, 'publisher', 'push', (it) => [acceptedOf(it), refusedOf(it), it.cpu_seconds]);
    }
    const knew = this.#last.size > 0;
    // A process that is silent for a second is not new when it answers again.
    for (const [key, old] of this.#last) if (!last.has(key) && at - old.at < MINUTE) last.set(key, old);
    this.#last = last;
    this.#latencies = [...this.#latencies, seconds].filter((one) => at - one.at < LATENCY_SECONDS);
    this.#minute = [...this.#minute, { at, changes }].filter((one) => at - one.at < MINUTE);
    const of = (processes, index) =>
      knew ? total(processes.map(({ instance }) => this.#rates.get(instance)?.[index] ?? 0)) : null;
    const latency = (histogram, share) =>
      percentile(sum(this.#latencies.flatMap((one) => one[histogram])), share);
    this.#keep({
      at,
      connections: total(gateways.map(connectionsOf)),
      deliveries: of(gateways, 0),
      delivered_bytes: of(gateways, 1),
      accepted: of(publishers, 0),
      refused: of(publishers, 1),
      delivery_p50: latency('delivery', 0.5),
      delivery_p99: latency('delivery', 0.99),
      push_p50: latency('push', 0.5),
      push_p99: latency('push', 0.99),
    });
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
