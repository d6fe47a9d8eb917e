// Orders of rows: by a column, up or down. Pure. Equals stay as they were told.

import { outcome } from './causes.js';
import { endpoint, processName } from './format.js';
import { Head } from './head.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 * @typedef {Attempt | Head} Row
 */

/** @type {Record<string, (attempt: Attempt) => number>} */
const NUMBERS = {
  time: ({ start }) => start,
  retries: ({ synRetransmits }) => synRetransmits,
  took: ({ start, end, latest }) => (end ?? latest) - start,
  failures: ({ state }) => (state === 'failed' ? 1 : 0),
};

/** @type {Record<string, (attempt: Attempt) => string>} */
const TEXTS = {
  outcome: (attempt) => outcome(attempt).label,
  peer: ({ flow, network }) => (flow.labels.peer ??= endpoint(network.peer)),
  process: ({ flow, process }) => (flow.labels.process ??= processName(process)),
};

/** Columns that can be sorted by; `-` before one turns the order round. */
export const COLUMNS = [...Object.keys(NUMBERS), ...Object.keys(TEXTS)];

/** Numbers before letters within a name: 10.0.0.2 stands before 10.0.0.10. */
const COLLATOR = new Intl.Collator('en', { numeric: true });

/** @param {string} sort @returns {{ column: string, down: boolean }} */
export function orderOf(sort) {
  const down = sort.startsWith('-');
  return { column: down ? sort.slice(1) : sort, down };
}

/** The order that a click on a column's head leads to: what is largest first, then the other way, then as told. @param {string} sort @param {string} column */
export function nextSort(sort, column) {
  const [first, second] = Object.hasOwn(NUMBERS, column) ? [`-${column}`, column] : [column, `-${column}`];
  return sort === first ? second : sort === second ? 'told' : first;
}

/**
 * Pinned rows first, then by what is asked for.
 * @param {readonly Row[]} rows @param {string} sort @param {(row: Row) => boolean} pinned @returns {readonly Row[]}
 */
export function sorted(rows, sort, pinned) {
  const { column, down } = orderOf(sort);
  const keys = Object.hasOwn(NUMBERS, column) ? numbers(rows, column, down) : Object.hasOwn(TEXTS, column) ? ranks(rows, TEXTS[column]) : new Float64Array(rows.length);
  const lifted = rows.map((row) => pinned(row));
  if (!Object.hasOwn(NUMBERS, column) && !Object.hasOwn(TEXTS, column) && !lifted.includes(true)) return rows;
  const order = Uint32Array.from(rows, (_, index) => index);
  order.sort((a, b) => Number(lifted[b]) - Number(lifted[a]) || (down ? keys[b] - keys[a] : keys[a] - keys[b]) || a - b);
  return Array.from(order, (index) => rows[index]);
}

/** Of a group counts what stands out: its largest when the largest are first. @param {readonly Row[]} rows @param {string} column @param {boolean} down */
function numbers(rows, column, down) {
  const read = NUMBERS[column];
  return Float64Array.from(rows, (row) => {
    if (!(row instanceof Head)) return read(row);
    if (column === 'failures') return row.failed;
    return row.attempts.reduce((most, attempt) => (down ? Math.max(most, read(attempt)) : Math.min(most, read(attempt))), down ? -Infinity : Infinity);
  });
}

/** Places of texts among all different ones: they are few, and compared once. @param {readonly Row[]} rows @param {(attempt: Attempt) => string} read */
function ranks(rows, read) {
  const texts = rows.map((row) => read(row instanceof Head ? row.attempts[0] : row));
  const places = new Map([...new Set(texts)].sort(COLLATOR.compare).map((text, place) => [text, place]));
  return Float64Array.from(texts, (text) => places.get(text) ?? 0);
}
