// Small charts of the last minutes.

import { byId, draw, make, say } from './dom.js';
import { bytes, count, duration, rate } from './words.js';

const [WIDTH, HEIGHT] = [300, 64];

/** How much time charts show, in seconds: more, the longer ago the first sample is. */
const SPANS = [60, 2 * 60, 5 * 60, 15 * 60];

/** A gap longer than this breaks a line. Kept samples are 5 s apart, or 9 s if somebody does not answer. */
const BREAK_SECONDS = 12;

const CHARTS = [
  { title: 'Connections', series: [['connections', '']], format: count },
  { title: 'Pushes accepted per second', series: [['accepted', '']], format: rate },
  { title: 'Deliveries per second', series: [['deliveries', '']], format: rate },
  { title: 'Delivered bytes per second', series: [['delivered_bytes', '']], format: bytes },
  { title: 'Delivery latency in a gateway', series: [['delivery_p99', 'p99'], ['delivery_p50', 'p50']], format: duration },
  { title: 'Push latency', series: [['push_p99', 'p99'], ['push_p50', 'p50']], format: duration },
];

/** The least round number that is not below a value; round for bytes are powers of 1,024 times one. */
export function niceMax(value, isBytes = false) {
  if (!(value > 0)) return 1;
  const unit = isBytes ? 1_024 ** Math.floor(Math.log(value) / Math.log(1_024)) : 1;
  const power = unit * 10 ** Math.floor(Math.log10(value / unit));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999) ?? 10 * power;
}

/** How much time a chart with these samples shows. */
export const spanOf = (samples, now) => SPANS.find((span) => now - (samples[0]?.at ?? now) <= span) ?? SPANS.at(-1);

/** The lines of a series, as runs of points without gaps. At most one point per pixel, the largest. */
export function runs(samples, name, now, span) {
  const all = [];
  let run = [];
  for (const sample of samples) {
    const value = sample[name];
    const previous = run.at(-1);
    if (value === undefined || value === null || (previous && sample.at - previous.at > BREAK_SECONDS)) {
      if (run.length) all.push(run);
      run = [];
    }
    if (value === undefined || value === null) continue;
    const x = Math.round(WIDTH * (1 - (now - sample.at) / span));
    const last = run.at(-1);
    if (last?.x === x) last.value = Math.max(last.value, value);
    else run.push({ x, value, at: sample.at });
  }
  if (run.length) all.push(run);
  return all;
}

/** The times within a chart of which nothing is known, because nobody looked or nobody answered. */
export function gaps(samples, now, span) {
  const all = [];
  const known = samples.filter(({ connections }) => connections !== undefined && connections !== null).map(({ at }) => at);
  [...known, now].forEach((at, index, ends) => {
    const from = ends[index - 1];
    if (from !== undefined && at - from > BREAK_SECONDS && now - at < span) all.push([from, at]);
  });
  const x = (at) => Math.max(0, Math.round(WIDTH * (1 - (now - at) / span)));
  return all.map((ends) => ends.map(x));
}

const line = (points, y) => points.map(({ x, value }, at) => `${at ? 'L' : 'M'}${x} ${y(value).toFixed(1)}`).join('');

class Chart {
  constructor({ title, series, format }) {
    [this.series, this.format] = [series, format];
    this.value = make('p', { class: 'value' });
    this.max = make('span', {});
    this.since = make('span', {});
    this.svg = draw('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true', focusable: 'false' });
    this.element = make('figure', { class: 'chart' },
      make('figcaption', {}, title), this.value, this.svg,
      make('p', { class: 'axis', 'aria-hidden': 'true' }, this.since, this.max, make('span', {}, 'now')));
  }

  show(samples, now) {
    const newest = samples.at(-1) ?? {};
    this.value.replaceChildren(...this.series.map(([name, label], at) =>
      make('span', { class: `series-${at}` }, label ? make('small', {}, `${label} `) : '', this.format(newest[name]))));
    const span = spanOf(samples, now);
    say(this.since, `${span / 60} min ago`);
    const lines = this.series.map(([name]) => runs(samples, name, now, span));
    const top = niceMax(Math.max(0, ...lines.flat(2).map(({ value }) => value)), this.format === bytes);
    say(this.max, lines.flat().length ? `top ${this.format(top)}` : 'no values yet');
    const y = (value) => HEIGHT - 2 - ((HEIGHT - 6) * value) / top;
    const shapes = gaps(samples, now, span).map(([from, to]) =>
      draw('rect', { class: 'gap', x: from, y: y(top), width: to - from, height: y(0) - y(top) }));
    shapes.push(draw('path', { class: 'grid', d: `M0 ${y(top)}H${WIDTH}M0 ${y(top / 2)}H${WIDTH}M0 ${HEIGHT - 2}H${WIDTH}` }));
    lines.forEach((all, at) => {
      for (const points of all) {
        const path = points.length === 1 ? `M${points[0].x - 1} ${y(points[0].value)}h2` : line(points, y);
        if (at === 0 && points.length > 1) {
          shapes.push(draw('path', { class: 'area', d: `${path}L${points.at(-1).x} ${HEIGHT - 2}L${points[0].x} ${HEIGHT - 2}Z` }));
        }
        shapes.push(draw('path', { class: `line series-${at}`, d: path }));
      }
    });
    this.svg.replaceChildren(...shapes);
  }
}

let charts;

export function showCharts(samples, now) {
  if (!charts) {
    charts = CHARTS.map((chart) => new Chart(chart));
    byId('charts').append(...charts.map(({ element }) => element));
  }
  for (const chart of charts) chart.show(samples, now);
}
