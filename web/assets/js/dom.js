// Small helpers for building the page. Text only ever becomes text.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/**
 * The element with this id, checked to be of that kind.
 * @template {HTMLElement} T
 * @param {string} id @param {new () => T} kind
 */
export function kindById(id, kind) {
  const element = byId(id);
  if (!(element instanceof kind)) throw new Error(`#${id} is not a ${kind.name}`);
  return element;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * @param {string} tag @param {Record<string, string | number>} attributes @param {...(Node | string)} children
 * @returns {SVGElement}
 */
export function svg(tag, attributes, ...children) {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, tag));
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** @typedef {{ trace: () => string, knows: (attempt: number) => boolean, open: (attempt: number) => void }} Links */

/** A button to another attempt; none where the page does not hold it. @param {Links} links @param {number | undefined} attempt */
export function linkTo(links, attempt) {
  if (attempt === undefined || !links.knows(attempt)) return [];
  const link = el('button', { type: 'button', class: 'link' }, 'show it');
  link.addEventListener('click', () => links.open(attempt));
  return [link];
}

/** Touches the document only when something changes. @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {Element} element @param {string} name @param {string | null} value */
export function setAttribute(element, name, value) {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * Makes a canvas as fine as the screen. Returns its size in CSS pixels, which drawing then counts in.
 * @param {HTMLCanvasElement} canvas @param {CanvasRenderingContext2D} ctx
 */
export function fitCanvas(canvas, ctx) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = window.devicePixelRatio || 1;
  const [wide, tall] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== tall) Object.assign(canvas, { width: wide, height: tall });
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { width, height };
}

/** @param {import('./causes.js').Outcome} outcome @param {string} key */
export function glyph(outcome, key) {
  const symbol = svg('svg', { viewBox: '0 0 12 12', class: 'glyph', 'aria-hidden': 'true' }, svg('path', {}));
  drawGlyph(symbol, outcome, key);
  return symbol;
}

/** @param {SVGElement} symbol @param {import('./causes.js').Outcome} outcome @param {string} key */
export function drawGlyph(symbol, outcome, key) {
  if (symbol.dataset.outcome === key) return;
  symbol.dataset.outcome = key;
  symbol.firstElementChild?.setAttribute('d', outcome.glyph);
}
