// Tiles in rows, and the lines that lead to them: what the picture of the cluster and that of a trace are made of.

import { draw } from './dom.js';
import { cut } from './words.js';

export const GAP = 12;

/** How wide a character is, at most, in the two sizes of text in tiles. */
const CHAR = { name: 7.6, small: 6.7 };

/** Where tiles go: as many in a row as fit, all of one width, the last row like the others. */
export function grid(tiles, width, { least, most, height, rail }) {
  const perRow = Math.max(1, Math.min(tiles, Math.floor((width + GAP) / (least + GAP))));
  const rows = Math.ceil(tiles / perRow);
  const isOneRow = rows === 1;
  const left = isOneRow ? 0 : GAP;
  const tileWidth = Math.min(most, (width - left - GAP * (perRow - 1)) / perRow);
  const rowWidth = perRow * tileWidth + GAP * (perRow - 1);
  const start = isOneRow ? (width - rowWidth) / 2 : left;
  const places = Array.from({ length: tiles }, (_, at) => ({
    x: start + (at % perRow) * (tileWidth + GAP),
    row: Math.floor(at / perRow),
    width: tileWidth,
  }));
  return { places, rows, isOneRow, pitch: height + rail, height: rows * height + rows * rail };
}

/** A text that ends within a number of pixels. */
export function text(x, y, content, kind, { end = false, room = Infinity } = {}) {
  const size = kind.split(' ').includes('name') ? CHAR.name : CHAR.small;
  const shown = cut(content, Math.max(2, Math.floor(room / size)));
  return draw('text', { x, y, class: kind, 'text-anchor': end ? 'end' : 'start' }, shown);
}

export function tile({ x, y, width, height, mood = 'none', title, kind = '' }, ...shapes) {
  const round = { width, height, rx: 8 };
  return draw('g', { class: `tile ${kind}`, 'data-mood': mood, transform: `translate(${x} ${y})` },
    draw('title', {}, title), draw('rect', round), ...shapes);
}

/** A curve from one point down to another. */
export function curve([x, y], [toX, toY], mood) {
  const middle = (y + toY) / 2;
  return draw('path', { class: 'link', 'data-mood': mood, d: `M${x} ${y}C${x} ${middle} ${toX} ${middle} ${toX} ${toY}` });
}

/** A line with corners. */
export const lines = (points, mood, kind = 'link') =>
  draw('path', { class: kind, 'data-mood': mood, d: points.map(([x, y], at) => `${at ? 'L' : 'M'}${x} ${y}`).join('') });

/**
 * The lines between a point and tiles. In one row they are curves; more rows hang on rails, which a trunk in the left
 * margin connects. `isBelow` says whether the tiles are below the point.
 */
export function wires([x, y], tiles, { isOneRow, rail, isBelow }) {
  if (tiles.length === 0) return [];
  const edge = ({ y: top, height }) => (isBelow ? top : top + height);
  if (isOneRow) {
    return tiles.map((one) => curve([x, y], [one.x + one.width / 2, edge(one)], one.link));
  }
  const away = (isBelow ? -1 : 1) * Math.min(rail / 2, 10);
  const all = [];
  const rows = new Map();
  for (const one of tiles) {
    const at = edge(one) + away;
    rows.set(at, Math.max(rows.get(at) ?? 0, one.x + one.width / 2));
    all.push(lines([[one.x + one.width / 2, at], [one.x + one.width / 2, edge(one)]], one.link));
  }
  const rails = [...rows.keys()];
  const nearest = isBelow ? Math.min(...rails) : Math.max(...rails);
  const farthest = isBelow ? Math.max(...rails) : Math.min(...rails);
  const trunk = [lines([[x, y], [x, nearest]], 'none', 'trunk'), lines([[1, nearest], [1, farthest]], 'none', 'trunk')];
  for (const [at, right] of rows) trunk.push(lines([[1, at], [at === nearest ? Math.max(right, x) : right, at]], 'none', 'trunk'));
  return [...trunk, ...all];
}
