// A chart of one or two values over the last minute, and up to five as they are known.

import { element, shape } from './element.js';

/** Seconds shown at least. */
const SPAN_MIN = 60;
const WIDTH = 300;
const HEIGHT = 100;
/** Room above and below, so that a thick line isn't cut. */
const TOP = 2;
const BOTTOM = 98;

/** The next number of the form 1, 2 or 5 × 10ⁿ. */
function ceiling(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * size).find((step) => step >= value * 0.9999);
}

export class Chart {
  #lines = [];
  #values = [];
  #scale = element('span');
  #svg;
  #start = element('span');

  /** `series` are pairs of a value's name and its title; `show` writes a number. */
  constructor(title, series, show) {
    this.title = title;
    this.series = series;
    this.show = show;
    const legend = series.map(([, name], at) => {
      const value = element('b', {}, '–');
      this.#values.push(value);
      return element('span', {}, element('span', { class: `key key-${at}`, 'aria-hidden': 'true' }), `${name} `, value);
    });
    for (const at of series.keys()) this.#lines.push(shape('path', { class: `series series-${at}` }));
    // Stretched to the width there is; words stand outside, where they aren't.
    this.#svg = shape('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title },
      shape('path', { class: 'grid', d: `M0 ${TOP}H${WIDTH}M0 ${(TOP + BOTTOM) / 2}H${WIDTH}M0 ${BOTTOM}H${WIDTH}` }),
      ...this.#lines);
    const ends = element('div', { class: 'ends', 'aria-hidden': 'true' }, this.#start, element('span', {}, 'now'));
    this.figure = element('figure', { class: 'chart panel' },
      element('figcaption', {}, title, element('span', { class: 'legend' }, ...legend)),
      element('div', { class: 'ends', 'aria-hidden': 'true' }, this.#scale), this.#svg, ends);
  }

  draw(rows) {
    const highest = Math.max(1e-9, ...this.series.flatMap(([key]) => rows.map((row) => row[key] ?? 0)));
    const top = highest > 1e-9 ? ceiling(highest) : 1;
    const span = Math.max(rows.length, SPAN_MIN);
    this.#start.textContent = span < 120 ? `${span} s ago` : `${Math.round(span / 60)} min ago`;
    this.#scale.textContent = this.show(top);
    for (const [at, [key]] of this.series.entries()) {
      this.#lines[at].setAttribute('d', path(rows, key, top, WIDTH / (span - 1)));
      this.#values[at].textContent = this.show(rows.at(-1)?.[key]);
    }
    this.#svg.setAttribute('aria-label', this.#told(rows));
  }

  /** What the lines show, in words. */
  #told(rows) {
    const told = this.values(rows).map(([name, now, , most]) => `${name} ${now} now, ${most} at most`);
    return `${this.title} over the last minutes: ${told.join('; ')}`;
  }

  /** Title, newest, lowest and highest value of each line. */
  values(rows) {
    return this.series.map(([key, name]) => {
      const known = rows.map((row) => row[key]).filter((value) => value !== undefined);
      const ends = known.length > 0 ? [Math.min(...known), Math.max(...known)] : [undefined, undefined];
      return [name, rows.at(-1)?.[key], ...ends].map((value, at) => (at === 0 ? value : this.show(value)));
    });
  }
}

/** A line through what is known; gaps stay gaps. */
function path(rows, key, top, step) {
  const left = WIDTH - (rows.length - 1) * step;
  let pen = 'M';
  return rows.map((row, at) => {
    if (row[key] === undefined) {
      pen = 'M';
      return '';
    }
    const point = `${pen}${(left + at * step).toFixed(1)} ${(BOTTOM - (row[key] / top) * (BOTTOM - TOP)).toFixed(1)}`;
    pen = 'L';
    return point;
  }).join('');
}
