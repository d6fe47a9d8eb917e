// A row that stands for others: a group, or a storm. What few rows need is found out when it is asked for. Pure.

import { outcome } from './causes.js';
import { count, duration, endpoint, processName } from './format.js';

/** @typedef {import('./attempts.js').Attempt} Attempt */

export class Head {
  /** @type {'group' | 'storm'} */
  kind;
  key;
  attempts;
  open;
  pinned;
  /** @type {string | undefined} */
  #label;
  /** @type {number | undefined} */
  #failed;
  /** @type {Float64Array | undefined} */
  #starts;

  /**
   * @param {'group' | 'storm'} kind @param {string} key @param {readonly Attempt[]} attempts in the order told
   * @param {boolean} open @param {boolean} pinned @param {string} [label]
   */
  constructor(kind, key, attempts, open, pinned, label) {
    this.kind = kind;
    this.key = key;
    this.attempts = attempts;
    this.open = open;
    this.pinned = pinned;
    this.#label = label;
  }

  get label() {
    return (this.#label ??= stormLabel(this.attempts, this.starts));
  }

  get failed() {
    return (this.#failed ??= this.attempts.reduce((sum, { state }) => sum + (state === 'failed' ? 1 : 0), 0));
  }

  /** When each began, ascending. */
  get starts() {
    return (this.#starts ??= Float64Array.from(this.attempts, ({ start }) => start).sort());
  }
}

/** @param {readonly Attempt[]} attempts @param {Float64Array} starts */
function stormLabel(attempts, starts) {
  const [first] = attempts;
  const every = (starts[starts.length - 1] - starts[0]) / (starts.length - 1);
  return `×${count(attempts.length)} ${outcome(first).label}, every ${duration(every)} · ${endpoint(first.network.peer)} · ${processName(first.process)}`;
}
