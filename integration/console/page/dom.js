// Makes elements. What others name becomes text and nothing else: nothing here reads markup.

export const byId = (id) => document.getElementById(id);

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'onclick') element.addEventListener('click', value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** An HTML element. Strings among the children become text. */
export const make = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);

/** An SVG element. */
export const draw = (name, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, name), attributes, children);

/** Replaces the text of an element, if it is another. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A name that clients choose: its direction must not change that of what is around it. */
export const named = (text) => make('bdi', {}, text);

/** A row of a table. Cells are strings, elements, or `{ number }` for what is aligned to the right. */
export const row = (...cells) =>
  make('tr', {}, cells.map((cell) => {
    if (cell !== null && typeof cell === 'object' && 'number' in cell) return make('td', { class: 'number' }, cell.number);
    return make('td', {}, ...[cell].flat());
  }));

/** Announces a change to those who do not see it. */
export function announce(text) {
  say(byId('announcer'), text);
}
