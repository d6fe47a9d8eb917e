// Storms: equal attempts that follow each other closely, as one. Pure.

import { outcome } from './causes.js';
import { count, duration, endpoint, processName } from './format.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 * @typedef {{ members: Attempt[], label: string }} Storm
 */

/** Fewer equal attempts are shown one by one. */
export const LEAST = 5;
/** A pause longer than this, in ms, ends a storm. */
export const LULL = 60_000;

/**
 * Attempts in their order; those of a storm are replaced by it, at the place of its first, which never moves
 * however the storm goes on.
 * @param {readonly Attempt[]} attempts @param {(attempt: Attempt) => boolean} [apart] never folded
 * @returns {(Attempt | Storm)[]}
 */
export function foldStorms(attempts, apart = () => false) {
  /** The run that goes on, by what its attempts have in common. @type {Map<number, Attempt[]>} */
  const current = new Map();
  /** @type {(Attempt[] | null)[]} */
  const runs = attempts.map((attempt) => {
    if (attempt.likeness === 0 || apart(attempt)) return null;
    let run = current.get(attempt.likeness);
    if (!run || Math.abs(attempt.start - run[run.length - 1].start) > LULL) {
      run = [];
      current.set(attempt.likeness, run);
    }
    run.push(attempt);
    return run;
  });
  /** @type {(Attempt | Storm)[]} */
  const folded = [];
  attempts.forEach((attempt, index) => {
    const run = runs[index];
    if (!run || run.length < LEAST) folded.push(attempt);
    else if (run[0] === attempt) folded.push({ members: run, label: labelOf(run) });
  });
  return folded;
}

/** @param {readonly Attempt[]} members */
function labelOf(members) {
  const first = members[0];
  const every = (members[members.length - 1].start - first.start) / (members.length - 1);
  return `×${count(members.length)} ${outcome(first).label}, every ${duration(Math.abs(every))} · ${endpoint(first.network.peer)} · ${processName(first.process)}`;
}
