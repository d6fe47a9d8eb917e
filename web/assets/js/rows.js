// Which rows there are, in which order: attempts as they were told, or filtered, folded, grouped and sorted.
// Pure. The order never changes under a reader but by what is asked for and by new failures.

import { outcome } from './causes.js';
import { parseFilter } from './filter.js';
import { foldStorms } from './fold.js';
import { endpoint, processName, visible } from './format.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 * @typedef {import('./attempts.js').AttemptStore} AttemptStore
 *
 * @typedef {object} Head a row that stands for others
 * @property {'group' | 'storm'} kind
 * @property {string} key
 * @property {string} label
 * @property {readonly Attempt[]} attempts in the order told
 * @property {number} failed
 * @property {boolean} open
 * @property {boolean} pinned
 *
 * @typedef {Attempt | Head} Row
 * @typedef {{ group: string, sort: string, fold: boolean, filter: string }} Arrangement
 */

/** @type {Record<string, (attempt: Attempt) => string>} */
export const GROUPS = {
  peer: ({ network }) => endpoint(network.peer),
  process: ({ process }) => processName(process),
  container: ({ around, process }) => visible(around.container?.id ?? around.k8s?.pod.uid ?? around.systemd?.unit ?? process?.cgroup ?? 'none known'),
  netns: ({ process }) => (process?.netns === undefined ? 'unknown' : visible(`${process.netns_name ?? ''} ${process.netns}`.trim())),
  cause: (attempt) => outcome(attempt).label,
};

export const SORTS = ['told', 'failures', 'duration'];

/** @type {Arrangement} */
export const PLAIN = { group: '', sort: 'told', fold: true, filter: '' };

/** More attempts than this are arranged anew no more often than every `PAUSE` ms. */
const MANY = 3000;
const PAUSE = 250;

/** @param {Row} row @returns {row is Head} */
export function isHead(row) {
  return 'kind' in row;
}

/** @param {Row} row */
export function keyOf(row) {
  return isHead(row) ? row.key : row.ordinal;
}

export class Rows {
  arrangement = PLAIN;
  /** Changes whenever rows do. */
  version = 0;
  /** Attempts that the filter hides. */
  hidden = 0;
  /** Heads that are not as they are at first: groups open, storms folded. @type {Set<string>} */
  #toggled = new Set();
  /** @type {Set<string | number>} */
  #pinned = new Set();
  /** @type {readonly Row[]} */
  #rows = [];
  /** @type {AttemptStore | null} */
  #store = null;
  #seen = -1;
  #builtAt = 0;

  get size() {
    return this.#rows.length;
  }

  /** @param {number} index */
  at(index) {
    return this.#rows[index];
  }

  /** @param {string | number | null} key */
  indexOf(key) {
    return key === null ? -1 : this.#rows.findIndex((row) => keyOf(row) === key);
  }

  /** @param {Partial<Arrangement>} change */
  arrange(change) {
    this.arrangement = { ...this.arrangement, ...change };
    this.#seen = -1;
  }

  /** @param {string} key */
  toggle(key) {
    flip(this.#toggled, key);
    this.#seen = -1;
  }

  /** @param {string | number} key */
  pin(key) {
    flip(this.#pinned, key);
    this.#seen = -1;
  }

  /** @param {string | number} key */
  pinned(key) {
    return this.#pinned.has(key);
  }

  /** Opens whatever an attempt is folded into. @param {Attempt} attempt */
  reveal(attempt) {
    for (let deep = 0; deep < 2 && this.indexOf(attempt.ordinal) < 0; deep += 1) {
      const head = this.#rows.find((row) => isHead(row) && !row.open && row.attempts.includes(attempt));
      if (!head || !isHead(head) || !this.#store) return;
      this.toggle(head.key);
      this.update(this.#store, this.#builtAt);
    }
  }

  /** @param {AttemptStore} store @param {number} now */
  update(store, now) {
    if (store !== this.#store) {
      this.#toggled.clear();
      this.#pinned.clear();
    } else if (this.#seen === store.version || (this.#seen >= 0 && store.size > MANY && Math.abs(now - this.#builtAt) < PAUSE)) {
      return;
    }
    this.#store = store;
    this.#seen = store.version;
    this.#builtAt = now;
    this.#rows = this.#build(store.list());
    this.version += 1;
  }

  /** @param {readonly Attempt[]} all */
  #build(all) {
    const { group, filter } = this.arrangement;
    const fits = parseFilter(filter);
    const attempts = fits ? all.filter(fits) : all;
    this.hidden = all.length - attempts.length;
    if (!Object.hasOwn(GROUPS, group)) return this.#layOut(attempts);
    /** @type {Map<string, Attempt[]>} */
    const groups = new Map();
    for (const attempt of attempts) {
      const label = GROUPS[group](attempt);
      const members = groups.get(label);
      if (members) members.push(attempt);
      else groups.set(label, [attempt]);
    }
    const heads = [...groups].map(([label, members]) => this.#head('group', `${group}:${label}`, label, members));
    return this.#sort(heads).flatMap((head) => [head, ...(isHead(head) && head.open ? this.#layOut(head.attempts) : [])]);
  }

  /** @param {readonly Attempt[]} attempts */
  #layOut(attempts) {
    const folded = this.arrangement.fold ? foldStorms(attempts, (attempt) => this.#pinned.has(attempt.ordinal)) : attempts;
    const rows = folded.map((entry) => ('members' in entry
      ? this.#head('storm', `storm:${entry.members[0].id}`, entry.label, entry.members) : entry));
    const sorted = this.#sort(rows);
    if (rows.length === attempts.length) return sorted;
    return sorted.flatMap((row) => (isHead(row) && row.open ? [row, ...row.attempts] : [row]));
  }

  /** @param {Head['kind']} kind @param {string} key @param {string} label @param {readonly Attempt[]} attempts @returns {Head} */
  #head(kind, key, label, attempts) {
    const failed = attempts.reduce((sum, { state }) => sum + (state === 'failed' ? 1 : 0), 0);
    return { kind, key, label, attempts, failed, open: this.#toggled.has(key) !== (kind === 'group'), pinned: this.#pinned.has(key) };
  }

  /** Pinned rows first, then by what is asked for; equals stay as they were told. @param {readonly Row[]} rows */
  #sort(rows) {
    const { sort } = this.arrangement;
    if (sort === 'told' && this.#pinned.size === 0) return rows;
    const weights = new Map(rows.map((row) => [row, (this.#pinned.has(keyOf(row)) ? 1e15 : 0) + weight(row, sort)]));
    return rows.toSorted((a, b) => /** @type {number} */ (weights.get(b)) - /** @type {number} */ (weights.get(a)));
  }
}

/** @param {Row} row @param {string} sort @returns {number} */
function weight(row, sort) {
  if (sort === 'told') return 0;
  if (isHead(row)) return sort === 'failures' ? row.failed : row.attempts.reduce((most, attempt) => Math.max(most, weight(attempt, sort)), 0);
  if (sort === 'duration') return (row.end ?? row.latest) - row.start;
  return row.state === 'failed' ? 1 : 0;
}

/** @template T @param {Set<T>} set @param {T} value */
function flip(set, value) {
  if (!set.delete(value)) set.add(value);
}
