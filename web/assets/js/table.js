// The list of attempts: a real table of which only the rows in sight exist.

import { el, setAttribute } from './dom.js';
import { createRow, kindOf } from './row.js';
import { isHead, keyOf } from './rows.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 * @typedef {import('./rows.js').Row} Row
 *
 * @typedef {object} Context
 * @property {import('./view.js').View} view
 * @property {import('./rows.js').Rows} rows
 * @property {() => import('./theme.js').Theme} theme
 * @property {(attempt: Attempt, byKeyboard: boolean) => void} open
 * @property {(row: Row, shown: string, at: { x: number, y: number }) => void} narrow
 * @property {() => void} changed asks for a frame
 */

/** Rows beyond the edges, so that a fast scroll does not show holes. */
const SPARE = 6;
/** Rows kept to be filled again. */
const MOST_SPARE = 100;

export class Table {
  /** New rows keep the end of the list in sight. */
  stick = true;
  #list;
  #body;
  #context;
  #above = spacer();
  #below = spacer();
  /** @type {Map<string | number, import('./row.js').Drawn>} */
  #drawn = new Map();
  /** Rows out of use, to be filled again: making elements is what scrolling costs. @type {import('./row.js').Drawn[]} */
  #spare = [];
  /** What stands at the top while rows come and go above it. @type {{ key: string | number, index: number } | null} */
  #anchor = null;
  #version = 0;
  #now = 0;

  /** @param {HTMLElement} list @param {HTMLElement} body @param {Context} context */
  constructor(list, body, context) {
    this.#list = list;
    this.#body = body;
    this.#context = context;
    body.append(this.#above, this.#below);
    list.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    body.addEventListener('click', (event) => this.#click(event));
    body.addEventListener('keydown', (event) => this.#key(event));
    body.addEventListener('contextmenu', (event) => this.#menu(event));
    body.addEventListener('pointerover', (event) => this.#at(event, (row) => context.view.hover(keyOf(row))));
    body.addEventListener('pointerleave', () => context.view.hover(null));
  }

  clear() {
    for (const { row } of this.#drawn.values()) row.remove();
    this.#drawn.clear();
    this.#spare = [];
    this.#anchor = null;
    this.stick = true;
  }

  /** @param {number} now */
  draw(now) {
    this.#now = now;
    const { rows } = this.#context;
    const { row: height } = this.#context.theme();
    this.#keepPlace(height);
    const room = this.#room;
    const total = rows.size * height;
    const end = Math.max(0, total - room);
    const top = this.stick ? end : this.#list.scrollTop;
    const first = Math.max(0, Math.min(rows.size, Math.floor(top / height) - SPARE));
    const last = Math.min(rows.size, Math.ceil((top + room) / height) + SPARE);
    setHeight(this.#above, first * height);
    setHeight(this.#below, total - last * height);
    this.#discard(first, last);
    setAttribute(/** @type {Element} */ (this.#body.parentElement), 'aria-rowcount', String(rows.size + 1));
    /** @type {Element} */
    let previous = this.#above;
    for (let index = first; index < last; index += 1) previous = this.#place(rows.at(index), index, previous, now);
    for (const { row } of this.#spare) row.remove();
    if (this.stick && this.#list.scrollTop < end) this.#list.scrollTop = end;
    this.#mark(height);
  }

  /** Moves the selection to a row and the focus with it. @param {number} index */
  walk(index) {
    const { rows, view } = this.#context;
    if (rows.size === 0) return;
    const bounded = Math.max(0, Math.min(rows.size - 1, index));
    const key = keyOf(rows.at(bounded));
    this.show(bounded);
    view.select(key);
    // The row must exist before it can take the focus.
    this.draw(this.#now);
    this.focus(key);
  }

  /** Scrolls as little as brings a row into sight. @param {number} index */
  show(index) {
    if (index < 0) return;
    const { row } = this.#context.theme();
    const room = this.#room;
    this.stick = false;
    if (index * row < this.#list.scrollTop) this.#list.scrollTop = index * row;
    else if ((index + 1) * row > this.#list.scrollTop + room) this.#list.scrollTop = (index + 1) * row - room;
    this.#mark(row);
  }

  /** @param {string | number} key */
  focus(key) {
    this.#drawn.get(key)?.row.focus({ preventScroll: true });
  }

  /** Where a row is in the window, if it is in sight. @param {string | number | null} key */
  boxOf(key) {
    return key === null ? undefined : this.#drawn.get(key)?.row.getBoundingClientRect();
  }

  /** When rows above come or go, what is being read stays where it is. @param {number} height */
  #keepPlace(height) {
    const { rows } = this.#context;
    if (rows.version === this.#version) return;
    this.#version = rows.version;
    if (!this.#anchor || this.stick) return;
    const index = rows.indexOf(this.#anchor.key);
    if (index >= 0 && index !== this.#anchor.index) this.#list.scrollTop += (index - this.#anchor.index) * height;
  }

  /** @param {number} height */
  #mark(height) {
    const index = Math.floor(this.#list.scrollTop / height);
    const row = this.#context.rows.at(index);
    this.#anchor = row ? { key: keyOf(row), index } : null;
  }

  /** Height that rows are seen in: the head covers the rest. */
  get #room() {
    const head = this.#list.querySelector('thead');
    const covered = head && getComputedStyle(head).position === 'sticky' ? head.offsetHeight : 0;
    return this.#list.clientHeight - covered;
  }

  #scrolled() {
    const { row } = this.#context.theme();
    const hidden = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight;
    this.stick = hidden < row / 2;
    this.#mark(row);
    this.#context.changed();
  }

  /** @param {number} first @param {number} last */
  #discard(first, last) {
    const { rows } = this.#context;
    const kept = new Set();
    for (let index = first; index < last; index += 1) kept.add(keyOf(rows.at(index)));
    for (const [key, drawn] of this.#drawn) {
      if (kept.has(key)) continue;
      // An element that had the focus, or still shows it, must not become another row.
      if (drawn.row.contains(document.activeElement) || this.#spare.length >= MOST_SPARE) drawn.row.remove();
      else this.#spare.push(drawn);
      this.#drawn.delete(key);
    }
  }

  /** @param {string} kind */
  #reused(kind) {
    const at = this.#spare.findLastIndex((drawn) => drawn.kind === kind);
    return at < 0 ? undefined : this.#spare.splice(at, 1)[0];
  }

  /** @param {Row} row @param {number} index @param {Element} previous @param {number} now */
  #place(row, index, previous, now) {
    const key = keyOf(row);
    let drawn = this.#drawn.get(key);
    if (!drawn) {
      drawn = this.#reused(kindOf(row)) ?? createRow(row);
      this.#drawn.set(key, drawn);
    }
    const element = drawn.row;
    // Moving a row that is in its place already would take the focus from it.
    if (previous.nextElementSibling !== element) previous.after(element);
    drawn.fill(row, now);
    const { view } = this.#context;
    const selected = view.selected === key;
    element.dataset.index = String(index);
    setAttribute(element, 'aria-rowindex', String(index + 2));
    setAttribute(element, 'aria-selected', String(selected));
    element.classList.toggle('hovered', view.hovered === key);
    element.tabIndex = selected || (view.selected === null && index === 0) ? 0 : -1;
    return element;
  }

  /** @param {Event} event @param {(row: Row, index: number) => void} then */
  #at(event, then) {
    const element = event.target instanceof Element ? event.target.closest('tr') : null;
    const index = Number(element?.dataset.index ?? -1);
    const row = this.#context.rows.at(index);
    if (row) then(row, index);
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const wanted = event.target instanceof Element ? event.target.closest('button')?.dataset.do : undefined;
    this.#at(event, (row) => {
      if (!isHead(row)) this.#context.open(row, false);
      else if (wanted === 'pin') this.#context.rows.pin(row.key);
      else this.#context.rows.toggle(row.key);
      this.#context.changed();
    });
  }

  /** Also by the keyboard's own key: then the row itself is the target. @param {MouseEvent} event */
  #menu(event) {
    this.#at(event, (row) => {
      event.preventDefault();
      const target = /** @type {Element} */ (event.target);
      const box = target.getBoundingClientRect();
      const at = target.matches('tr') ? { x: box.left + 24, y: box.bottom } : { x: event.clientX, y: event.clientY };
      this.#context.narrow(row, /c-(\w+)/.exec(target.closest('td')?.className ?? '')?.[1] ?? '', at);
    });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    this.#at(event, (row, index) => {
      const page = Math.max(1, Math.floor(this.#list.clientHeight / this.#context.theme().row) - 2);
      const target = {
        ArrowDown: index + 1, ArrowUp: index - 1, PageDown: index + page, PageUp: index - page,
        Home: 0, End: this.#context.rows.size - 1,
      }[event.key];
      if (target !== undefined) this.walk(target);
      else if (event.key !== 'Enter' && event.key !== ' ') return;
      else if (isHead(row)) this.#context.rows.toggle(row.key);
      else this.#context.open(row, true);
      this.#context.changed();
      event.preventDefault();
      event.stopPropagation();
    });
  }
}

function spacer() {
  return el('tr', { 'aria-hidden': 'true', class: 'spacer' }, el('td'));
}

/** @param {HTMLElement} row @param {number} height */
function setHeight(row, height) {
  const value = `${height}px`;
  if (row.style.height !== value) row.style.height = value;
}
