// Attempts over time, counted in bars of equal width by outcome. Pure.

import { OUTCOME_KEYS, outcomeKey } from './causes.js';
import { span } from './scale.js';

/**
 * @typedef {object} Bars
 * @property {number} from   begin of the first bar
 * @property {number} width  ms; a power of two, and bars stand on multiples of it: they do not move with the range
 * @property {number} count
 * @property {Uint32Array} numbers by bar, then by outcome in the order of OUTCOME_KEYS
 * @property {number} highest  attempts in the fullest bar
 */

/** @type {ReadonlyMap<string, number>} */
const KINDS = new Map(OUTCOME_KEYS.map((key, index) => [key, index]));

/** @param {number} range ms @param {number} bars at most */
export function barWidth(range, bars) {
  return 2 ** Math.ceil(Math.log2(Math.max(range, 1) / Math.max(bars, 1)));
}

/**
 * Counts attempts by their start; those that began earlier are left out.
 * @param {{ size: number, at(lane: number): import('./attempts.js').Attempt | undefined }} attempts
 * @param {import('./scale.js').Domain} range @param {number} most bars
 * @returns {Bars}
 */
export function countBars(attempts, range, most) {
  const width = barWidth(range.to - range.from, most);
  const first = Math.floor(range.from / width);
  const count = Math.floor(range.to / width) - first + 1;
  const kinds = OUTCOME_KEYS.length;
  const numbers = new Uint32Array(count * kinds);
  const totals = new Uint32Array(count);
  let highest = 0;
  for (let lane = 0; lane < attempts.size; lane += 1) {
    const attempt = attempts.at(lane);
    const bar = attempt ? Math.floor(attempt.start / width) - first : -1;
    if (!attempt || bar < 0 || bar >= count) continue;
    numbers[bar * kinds + /** @type {number} */ (KINDS.get(outcomeKey(attempt)))] += 1;
    totals[bar] += 1;
    highest = Math.max(highest, totals[bar]);
  }
  return { from: first * width, width, count, numbers, highest };
}

/**
 * How many of these times fall into each column of a domain.
 * @param {Float64Array} times ascending @param {import('./scale.js').Domain} domain @param {number} columns
 */
export function countColumns(times, domain, columns) {
  const numbers = new Uint32Array(Math.ceil(columns) + 1);
  const scale = columns / span(domain);
  for (let at = lowerBound(times, domain.from); at < times.length && times[at] <= domain.to; at += 1) {
    numbers[Math.floor((times[at] - domain.from) * scale)] += 1;
  }
  return numbers;
}

/** The first of ascending times that is not before this one. @param {Float64Array} times @param {number} time */
function lowerBound(times, time) {
  let [low, high] = [0, times.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}
