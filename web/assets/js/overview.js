// Attempts over time, counted in bars of equal width by outcome. Pure.

import { OUTCOME_KEYS, outcomeKey } from './causes.js';

/**
 * @typedef {object} Bars
 * @property {number} from   begin of the first bar
 * @property {number} width  ms; a power of two, and bars stand on multiples of it: they do not move with the range
 * @property {number} count
 * @property {Uint32Array} numbers by bar, then by outcome in the order of OUTCOME_KEYS
 * @property {number} highest  attempts in the fullest bar
 */

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
    numbers[bar * kinds + OUTCOME_KEYS.indexOf(outcomeKey(attempt))] += 1;
    totals[bar] += 1;
    highest = Math.max(highest, totals[bar]);
  }
  return { from: first * width, width, count, numbers, highest };
}
