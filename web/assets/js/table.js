// The list of attempts: a real table of which only the rows in sight exist.

import { outcome, outcomeKey } from './causes.js';
import { drawGlyph, el, glyph, setAttribute, setText } from './dom.js';
import { clock, duration, endpoint, processName } from './format.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 *
 * @typedef {object} Row
 * @property {HTMLTableRowElement} row
 * @property {HTMLElement} time
 * @property {SVGElement} glyph
 * @property {HTMLElement} label
 * @property {HTMLElement} peer
 * @property {HTMLElement} process
 * @property {HTMLElement} pid
 * @property {HTMLElement} syn
 * @property {HTMLElement} took
 *
 * @typedef {object} Context
 * @property {import('./view.js').View} view
 * @property {() => import('./state.js').TraceState | null} state
 * @property {() => import('./theme.js').Theme} theme
 * @property {(attempt: Attempt, byKeyboard: boolean) => void} open
 * @property {() => void} scrolled
 */

/** Rows beyond the edges, so that a fast scroll does not show holes. */
const SPARE = 6;

export class Table {
  /** New rows keep the end of the list in sight. */
  stick = true;
  #list;
  #body;
  #context;
  #above = spacer();
  #below = spacer();
  /** By ordinal. @type {Map<number, Row>} */
  #rows = new Map();
  #dropped = 0;
  #now = 0;

  /** @param {HTMLElement} list @param {HTMLElement} body @param {Context} context */
  constructor(list, body, context) {
    this.#list = list;
    this.#body = body;
    this.#context = context;
    body.append(this.#above, this.#below);
    list.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    body.addEventListener('click', (event) => this.#at(event, (attempt) => context.open(attempt, false)));
    body.addEventListener('keydown', (event) => this.#key(event));
    body.addEventListener('pointerover', (event) => this.#at(event, (attempt) => context.view.hover(attempt.ordinal)));
    body.addEventListener('pointerleave', () => context.view.hover(null));
  }

  /** Rows below those in sight. */
  get below() {
    const { row } = this.#context.theme();
    const hidden = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight;
    return Math.max(0, Math.floor(hidden / row));
  }

  clear() {
    for (const { row } of this.#rows.values()) row.remove();
    this.#rows.clear();
    this.#dropped = 0;
    this.stick = true;
  }

  /** @param {number} now */
  draw(now) {
    const state = this.#context.state();
    if (!state) return;
    this.#now = now;
    const { attempts } = state;
    const { row: height } = this.#context.theme();
    this.#keepPlace(attempts.dropped, height);
    const room = this.#room;
    const total = attempts.size * height;
    const end = Math.max(0, total - room);
    const top = this.stick ? end : this.#list.scrollTop;
    const first = Math.max(0, Math.floor(top / height) - SPARE);
    const last = Math.min(attempts.size, Math.ceil((top + room) / height) + SPARE);
    setHeight(this.#above, first * height);
    setHeight(this.#below, total - last * height);
    this.#discard(first + attempts.dropped, last + attempts.dropped);
    setAttribute(/** @type {Element} */ (this.#body.parentElement), 'aria-rowcount', String(attempts.size + 1));
    /** @type {Element} */
    let previous = this.#above;
    for (let lane = first; lane < last; lane += 1) {
      const attempt = attempts.at(lane);
      if (attempt) previous = this.#place(attempt, lane, previous, now);
    }
    if (this.stick && this.#list.scrollTop < end) this.#list.scrollTop = end;
  }

  /** Moves the selection to a lane and the focus with it. @param {number} lane */
  walk(lane) {
    const state = this.#context.state();
    if (!state || state.attempts.size === 0) return;
    const bounded = Math.max(0, Math.min(state.attempts.size - 1, lane));
    const attempt = /** @type {Attempt} */ (state.attempts.at(bounded));
    this.show(bounded);
    this.#context.view.select(attempt.ordinal);
    // The row must exist before it can take the focus.
    this.draw(this.#now);
    this.#rows.get(attempt.ordinal)?.row.focus({ preventScroll: true });
  }

  /** Scrolls as little as brings a lane into sight. @param {number} lane */
  show(lane) {
    const { row } = this.#context.theme();
    const room = this.#room;
    this.stick = false;
    if (lane * row < this.#list.scrollTop) this.#list.scrollTop = lane * row;
    else if ((lane + 1) * row > this.#list.scrollTop + room) this.#list.scrollTop = (lane + 1) * row - room;
  }

  /** @param {number} ordinal */
  focus(ordinal) {
    this.#rows.get(ordinal)?.row.focus({ preventScroll: true });
  }

  /** When the oldest are dropped, what is being read stays where it is. @param {number} dropped @param {number} height */
  #keepPlace(dropped, height) {
    const moved = dropped - this.#dropped;
    this.#dropped = dropped;
    if (moved > 0 && !this.stick) this.#list.scrollTop -= moved * height;
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
    this.#context.scrolled();
  }

  /** @param {number} first @param {number} last ordinals */
  #discard(first, last) {
    for (const [ordinal, { row }] of this.#rows) {
      if (ordinal >= first && ordinal < last) continue;
      row.remove();
      this.#rows.delete(ordinal);
    }
  }

  /** @param {Attempt} attempt @param {number} lane @param {Element} previous @param {number} now */
  #place(attempt, lane, previous, now) {
    let row = this.#rows.get(attempt.ordinal);
    if (!row) {
      row = createRow(attempt.ordinal);
      this.#rows.set(attempt.ordinal, row);
    }
    // Moving a row that is in its place already would take the focus from it.
    if (previous.nextElementSibling !== row.row) previous.after(row.row);
    fill(row, attempt, now);
    const { view } = this.#context;
    const selected = view.selected === attempt.ordinal;
    setAttribute(row.row, 'aria-rowindex', String(lane + 2));
    setAttribute(row.row, 'aria-selected', String(selected));
    row.row.classList.toggle('hovered', view.hovered === attempt.ordinal);
    row.row.tabIndex = selected || (view.selected === null && lane === 0) ? 0 : -1;
    return row.row;
  }

  /** @param {Event} event @param {(attempt: Attempt) => void} then */
  #at(event, then) {
    const row = event.target instanceof Element ? event.target.closest('tr') : null;
    const state = this.#context.state();
    if (!row?.dataset.ordinal || !state) return;
    const attempt = state.attempts.at(Number(row.dataset.ordinal) - state.attempts.dropped);
    if (attempt) then(attempt);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const state = this.#context.state();
    if (!state || event.ctrlKey || event.metaKey || event.altKey) return;
    this.#at(event, (attempt) => {
      const lane = state.attempts.laneOf(attempt);
      const page = Math.max(1, Math.floor(this.#list.clientHeight / this.#context.theme().row) - 2);
      const target = {
        ArrowDown: lane + 1, ArrowUp: lane - 1, PageDown: lane + page, PageUp: lane - page,
        Home: 0, End: state.attempts.size - 1,
      }[event.key];
      if (target !== undefined) this.walk(target);
      else if (event.key === 'Enter' || event.key === ' ') this.#context.open(attempt, true);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }
}

/** @param {number} ordinal @returns {Row} */
function createRow(ordinal) {
  const cell = (/** @type {string} */ name, /** @type {(Node | string)[]} */ ...children) =>
    el('td', { role: 'gridcell', class: `c-${name}` }, ...children);
  const symbol = glyph(outcome({ cause: null, state: 'pending' }), 'pending');
  const label = el('span');
  const process = el('span', { class: 'comm' });
  const pid = el('span', { class: 'pid' });
  const cells = {
    time: cell('time'), outcome: cell('outcome', symbol, label), peer: cell('peer'),
    process: cell('process', process, ' ', pid), syn: cell('syn'), took: cell('took'),
  };
  const row = el('tr', { role: 'row', 'data-ordinal': String(ordinal) }, ...Object.values(cells));
  return { row, glyph: symbol, label, process, pid, ...{ time: cells.time, peer: cells.peer, syn: cells.syn, took: cells.took } };
}

/** @param {Row} row @param {Attempt} attempt @param {number} now */
function fill(row, attempt, now) {
  const how = outcome(attempt);
  const key = outcomeKey(attempt);
  setAttribute(row.row, 'data-outcome', key);
  setText(row.time, clock(attempt.start));
  drawGlyph(row.glyph, how, key);
  setText(row.label, attempt.uncertain ? 'unknown' : how.label);
  const peer = endpoint(attempt.network.peer);
  setText(row.peer, peer);
  setAttribute(row.peer, 'title', peer);
  setText(row.process, processName(attempt.process));
  setText(row.pid, attempt.process ? String(attempt.process.pid) : '');
  setText(row.syn, attempt.synRetransmits === 0 ? '' : `×${attempt.synRetransmits}`);
  setText(row.took, took(attempt, now));
}

/** @param {Attempt} attempt @param {number} now */
function took(attempt, now) {
  if (attempt.end !== null) return duration(attempt.end - attempt.start);
  // Still counting: hundredths would only flicker.
  return `${(Math.max(0, now - attempt.start) / 1000).toFixed(1)} s`;
}

function spacer() {
  return el('tr', { 'aria-hidden': 'true', class: 'spacer' }, el('td'));
}

/** @param {HTMLElement} row @param {number} height */
function setHeight(row, height) {
  const value = `${height}px`;
  if (row.style.height !== value) row.style.height = value;
}
