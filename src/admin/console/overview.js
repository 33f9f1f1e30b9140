// The numbers: tiles, charts, tables, and how the hub is doing.

import { Chart } from './chart.js';
import { element, fill, say } from './element.js';
import { brief, bytes, time } from './samples.js';

/** A shard that has said nothing for so long isn't well; readiness has the same limit. */
const SILENT_MS_MAX = 3_000;

const find = (id) => document.getElementById(id);
const perSecond = (show) => (value) => (value === undefined ? '–' : `${show(value)}/s`);

const CHARTS = [
  ['Publishes', [['publishes', 'updates']], perSecond(brief)],
  ['Deliveries', [['deliveries', 'events']], perSecond(brief)],
  ['Sent', [['sent_bytes', 'bytes']], perSecond(bytes)],
  ['Connections', [['connections', 'all'], ['subscribers', 'subscribers']], brief],
  ['Publish to first byte', [['first50', 'median'], ['first99', '99 of 100']], time],
  ['Publish to last byte', [['last50', 'median'], ['last99', '99 of 100']], time],
];

const TILES = [
  ['Publishes', (row) => perSecond(brief)(row.publishes)],
  ['Deliveries', (row) => perSecond(brief)(row.deliveries)],
  ['Sent', (row) => perSecond(bytes)(row.sent_bytes)],
  ['Subscribers', (row) => brief(row.subscribers)],
  ['Connections', (row) => brief(row.connections)],
  ['Slow readers', (row) => brief(row.slow)],
  ['First byte', (row) => time(row.first50)],
  ['In history', (_, totals) => brief(totals?.history_events)],
];

export class Overview {
  #charts = CHARTS.map((chart) => new Chart(...chart));
  #tiles = TILES.map(([title, show]) => ({ title, show, value: element('dd', {}, '–') }));

  constructor() {
    find('tiles').append(...this.#tiles.map(({ title, value }) => element('div', {}, element('dt', {}, title), value)));
    find('charts').append(...this.#charts.map((chart) => chart.figure));
    this.topics([]);
    this.slow([]);
  }

  /** Draws the samples; `stats` is missing when the hub didn't answer. */
  draw(samples, stats) {
    for (const { show, value } of this.#tiles) value.textContent = show(samples.last, stats?.totals);
    for (const chart of this.#charts) chart.draw(samples.rows);
    const values = this.#charts.flatMap((chart) => chart.values(samples.rows).map(([name, ...rest]) => [`${chart.title}: ${name}`, ...rest]));
    if (find('values').closest('details').open) fill(find('values'), values, '');
    if (stats) this.#stats(stats);
  }

  /** Says what became of the last look. */
  health(text, mood) {
    say(find('health'), text, mood);
  }

  #stats({ driver, uptime_ms, stopping, totals, shards }) {
    find('driver').textContent = `on ${driver}`;
    find('uptime').textContent = `up for ${duration(uptime_ms / 1000)}`;
    const silent = shards.find((shard) => shard.silent_ms > SILENT_MS_MAX);
    if (stopping) this.health('stopping', 'warn');
    else if (silent) this.health(`shard ${silent.shard} is stuck`, 'bad');
    else if (totals.overloaded) this.health('overloaded: publishes wait', 'warn');
    else this.health('healthy', 'good');
    const reasons = Object.entries(totals.disconnects).filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a);
    fill(find('disconnects'), reasons.map(([reason, count]) => [reason.replaceAll('_', ' '), brief(count)]), 'No stream has ended yet.');
    fill(find('shards'), shards.map((shard) => [
      `${shard.shard}`,
      shard.silent_ms > SILENT_MS_MAX ? `silent for ${duration(shard.silent_ms / 1000)}` : shard.overloaded ? 'overloaded' : 'well',
      brief(shard.subscribers.current + shard.subscribers.behind),
      bytes(shard.fan_out_lag_bytes),
    ]), '');
  }

  topics(topics) {
    const rows = topics.map((row) => [row.match, row.match_type === 'exact' ? 'exact' : 'pattern', brief(row.subscribers)]);
    fill(find('topics'), rows, 'Nobody subscribes.');
  }

  slow(readers) {
    const behind = readers.filter((reader) => reader.bytes_behind > 0 || reader.state !== 'current');
    fill(find('slow'), behind.map((reader) => [
      [reader.sub, reader.address].filter(Boolean).join(' at ') || 'unknown', reader.state,
      brief(reader.events_behind), bytes(reader.bytes_behind),
    ]), 'Everybody keeps up.');
  }
}

function duration(seconds) {
  const [days, hours, minutes] = [seconds / 86_400, (seconds % 86_400) / 3_600, (seconds % 3_600) / 60].map(Math.floor);
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min` : `${Math.floor(seconds)} s`;
}
