// One row of the table: an attempt's cells, or the line of a group or a storm.

import { outcome, outcomeKey } from './causes.js';
import { drawGlyph, el, glyph, setAttribute, setText } from './dom.js';
import { clock, count, duration, endpoint, plural, processName } from './format.js';
import { isHead } from './rows.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 * @typedef {import('./head.js').Head} Head
 * @typedef {{ kind: string, row: HTMLTableRowElement, fill: (row: import('./rows.js').Row, now: number) => void }} Drawn
 */

/** Rows of one kind can be filled with each other's content. @param {import('./rows.js').Row} row */
export function kindOf(row) {
  return isHead(row) ? row.kind : 'attempt';
}

/** @param {string} name @param {Record<string, string>} attributes @param {...(Node | string)} children */
function cell(name, attributes, ...children) {
  return el('td', { role: 'gridcell', class: `c-${name}`, ...attributes }, ...children);
}

/** @param {import('./rows.js').Row} row @returns {Drawn} */
export function createRow(row) {
  return isHead(row) ? createHead(row) : createAttempt();
}

/** @param {Head} head @returns {Drawn} */
function createHead({ kind }) {
  const toggle = el('button', { type: 'button', class: 'twist', tabindex: '-1', 'data-do': 'toggle' });
  const label = el('span', { class: 'label' });
  const number = el('span', { class: 'hint' });
  const pin = el('button', { type: 'button', class: 'pin', tabindex: '-1', 'data-do': 'pin', 'aria-label': 'Pin to the top', title: 'Pin to the top (p)' }, '↥');
  const row = el('tr', { role: 'row', class: `head ${kind}` }, cell('head', { colspan: '6' }, el('div', {}, toggle, label, number, pin)));
  return {
    kind,
    row,
    fill: (filled) => {
      const head = /** @type {Head} */ (filled);
      if (kind === 'storm') setAttribute(row, 'data-outcome', outcomeKey(head.attempts[0]));
      setText(toggle, head.open ? '▾' : '▸');
      setAttribute(toggle, 'aria-expanded', String(head.open));
      setAttribute(toggle, 'aria-label', `${head.open ? 'Fold' : 'Unfold'} ${head.label}`);
      setText(label, head.label);
      setAttribute(label, 'title', head.label);
      setText(number, kind === 'storm' ? '' : `${plural(head.attempts.length, 'attempt')}, ${count(head.failed)} failed`);
      setAttribute(pin, 'aria-pressed', String(head.pinned));
    },
  };
}

/** @returns {Drawn} */
function createAttempt() {
  const symbol = glyph(outcome({ cause: null, state: 'pending' }), 'pending');
  const label = el('span');
  const process = el('span', { class: 'comm' });
  const pid = el('span', { class: 'pid' });
  const [time, peer, syn, took] = ['time', 'peer', 'syn', 'took'].map((name) => cell(name, {}));
  const row = el('tr', { role: 'row' },
    time, cell('outcome', {}, symbol, label), peer, cell('process', {}, process, ' ', pid), syn, took);
  return {
    kind: 'attempt',
    row,
    fill: (filled, now) => {
      const attempt = /** @type {Attempt} */ (filled);
      const how = outcome(attempt);
      const key = outcomeKey(attempt);
      const to = endpoint(attempt.network.peer);
      setAttribute(row, 'data-ordinal', String(attempt.ordinal));
      setAttribute(row, 'data-outcome', key);
      setText(time, clock(attempt.start));
      drawGlyph(symbol, how, key);
      setText(label, attempt.uncertain ? 'unknown' : how.label);
      setText(peer, to);
      setAttribute(peer, 'title', to);
      setText(process, processName(attempt.process));
      setText(pid, attempt.process ? String(attempt.process.pid) : '');
      setText(syn, attempt.synRetransmits === 0 ? '' : `×${attempt.synRetransmits}`);
      setText(took, tookWords(attempt, now));
    },
  };
}

/** @param {Attempt} attempt @param {number} now */
function tookWords(attempt, now) {
  if (attempt.end !== null) return duration(attempt.end - attempt.start);
  // Still counting: hundredths would only flicker.
  return `${(Math.max(0, now - attempt.start) / 1000).toFixed(1)} s`;
}
