// Storms: equal attempts that follow each other closely, as one. Pure.

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 *
 * @typedef {object} Run equal attempts without a lull between them
 * @property {number} id    of the attempt that began it
 * @property {number} from  start of the earliest
 * @property {number} to    start of the latest
 * @property {number} round of `foldStorms`, for which alone `slot` counts
 * @property {number} slot
 *
 * @typedef {{ run: Run, members: readonly Attempt[] }} Storm
 */

/** Fewer equal attempts are shown one by one. */
export const LEAST = 5;
/** A pause longer than this, in ms, ends a storm. */
export const LULL = 60_000;

let round = 0;

/**
 * Adds an attempt that has ended to the run that goes on, or begins another.
 * @param {Map<string, Run>} current runs of one flow, by outcome @param {string} outcome
 * @param {{ id: number, start: number }} attempt @returns {Run}
 */
export function joinRun(current, outcome, { id, start }) {
  let run = current.get(outcome);
  if (!run || start > run.to + LULL || start < run.from - LULL) {
    run = { id, from: start, to: start, round: 0, slot: 0 };
    current.set(outcome, run);
  }
  run.from = Math.min(run.from, start);
  run.to = Math.max(run.to, start);
  return run;
}

/**
 * Attempts in their order; those of a storm are replaced by it, at the place of its first.
 * @param {readonly Attempt[]} attempts @param {(attempt: Attempt) => boolean} [apart] never folded
 * @returns {(Attempt | Storm)[]}
 */
export function foldStorms(attempts, apart = () => false) {
  round += 1;
  /** By the slots of their runs. @type {Attempt[][]} */
  const members = [];
  for (const attempt of attempts) {
    const { run } = attempt;
    if (run === null || apart(attempt)) continue;
    if (run.round !== round) {
      run.round = round;
      run.slot = members.push([]) - 1;
    }
    members[run.slot].push(attempt);
  }
  /** @type {(Attempt | Storm)[]} */
  const folded = [];
  for (const attempt of attempts) {
    const { run } = attempt;
    if (run === null || apart(attempt) || members[run.slot].length < LEAST) folded.push(attempt);
    else if (members[run.slot][0] === attempt) folded.push({ run, members: members[run.slot] });
  }
  return folded;
}
