// From the hub's counters to rates and times: what has changed between two looks.

/** How many looks are kept: five minutes, one a second. */
export const SAMPLES_MAX = 300;

/** Totals that become rates. */
const COUNTERS = ['publishes', 'deliveries', 'sent_bytes'];
/** Looks that latencies are taken from together: in one second there may be next to no publish. */
const LATENCY_SAMPLES = 10;

/** Growth per second, shard by shard: each says when it counted, and not all have since the last look. */
function rates(stats, before) {
  let rate = Object.fromEntries(COUNTERS.map((name) => [name, 0]));
  const known = new Map();
  for (const shard of stats.shards) {
    const at = stats.uptime_ms - shard.silent_ms;
    const old = before.get(shard.shard);
    let own = old?.own;
    if (old && at > old.at) {
      own = Object.fromEntries(COUNTERS.map((name) => [name, ((shard[name] - old.shard[name]) * 1000) / (at - old.at)]));
    }
    known.set(shard.shard, old && at === old.at ? old : { at, shard, own });
    if (!own) rate = undefined;
    for (const name of COUNTERS) if (rate) rate[name] += own[name];
  }
  return { rate, known };
}

/** The value below which this share of a histogram's counts lies, between the bounds of its bucket; none without counts. */
export function percentile({ bounds, counts }, share) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return undefined;
  let rest = total * share;
  for (const [at, count] of counts.entries()) {
    if (count >= rest) {
      // Above the last bound there is nothing to interpolate with.
      if (at === bounds.length) return bounds.at(-1);
      const low = at === 0 ? 0 : bounds[at - 1];
      return low + ((bounds[at] - low) * rest) / count;
    }
    rest -= count;
  }
  return bounds.at(-1);
}

/** What a histogram counted since an earlier look. */
export function since(now, before) {
  return { bounds: now.bounds, counts: now.counts.map((count, at) => count - before.counts[at]) };
}

/** Looks, the newest last, each a map from the name of a value to a number; a value may be missing. */
export class Samples {
  rows = [];
  #known = new Map();
  #histograms = [];
  #started;

  add(stats) {
    if (this.#started !== stats.started_ms) {
      // Another process: its counters begin anew.
      this.#started = stats.started_ms;
      this.#known = new Map();
      this.#histograms = [];
    }
    const { rate, known } = rates(stats, this.#known);
    this.#known = known;
    const { totals, histograms } = stats;
    const { current, behind } = totals.subscribers;
    const row = { connections: totals.connections, subscribers: current + behind, slow: totals.slow_readers, ...rate };
    this.#histograms.push(histograms);
    if (this.#histograms.length > LATENCY_SAMPLES + 1) this.#histograms.shift();
    for (const [key, name] of [['first', 'publish_first_byte_us'], ['last', 'publish_last_byte_us']]) {
      const recent = since(histograms[name], this.#histograms[0][name]);
      row[`${key}50`] = percentile(recent, 0.5);
      row[`${key}99`] = percentile(recent, 0.99);
    }
    this.#push(row);
  }

  /** Nothing could be learned: a gap. */
  gap() {
    this.#push({});
  }

  get last() {
    return this.rows.at(-1) ?? {};
  }

  #push(row) {
    this.rows.push(row);
    if (this.rows.length > SAMPLES_MAX) this.rows.shift();
  }
}

const PREFIXES = [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']];

/** A number as people read it: 950, 12.3k, 4.5M. */
export function brief(value) {
  if (value === undefined) return '–';
  for (const [size, prefix] of PREFIXES) {
    if (value >= size * 0.9995) return `${digits(value / size)}${prefix}`;
  }
  return digits(value);
}

function digits(value) {
  return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : String(Number(value.toPrecision(value < 1 ? 2 : 3)));
}

/** Microseconds as people read them. */
export function time(us) {
  if (us === undefined) return '–';
  if (us >= 1e6) return `${digits(us / 1e6)} s`;
  return us >= 1e3 ? `${digits(us / 1e3)} ms` : `${digits(us)} µs`;
}

/** Bytes as people read them. */
export function bytes(value) {
  return value === undefined ? '–' : `${brief(value)}B`.replace(/([kMG])B/, ' $1B').replace(/(\d)B/, '$1 B');
}
