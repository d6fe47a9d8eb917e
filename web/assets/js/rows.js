// Which rows there are, in which order: attempts as they were told, or filtered, folded, grouped and sorted.
// Pure. The order never changes under a reader but by what is asked for and by new failures.

import { outcome } from './causes.js';
import { foldStorms } from './fold.js';
import { endpoint, processName, visible } from './format.js';
import { Head } from './head.js';
import { sorted } from './sort.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 * @typedef {import('./attempts.js').AttemptStore} AttemptStore
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

/** @type {Arrangement} */
export const PLAIN = { group: '', sort: 'told', fold: true, filter: '' };

/** So many attempts are arranged anew in each ms that passes: a page full of them four times a second. */
const PACE = 400;

/** What an attempt is grouped under; equal for all of a flow, unless it is the outcome. @param {Attempt} attempt @param {string} group */
function labelOf(attempt, group) {
  if (group === 'cause') return GROUPS.cause(attempt);
  return (attempt.flow.labels[group] ??= GROUPS[group](attempt));
}

/** @param {Row} row @returns {row is Head} */
export function isHead(row) {
  return row instanceof Head;
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
  #now = 0;
  /** @type {import('./filter.js').Test | null} */
  #fits = null;
  /** Counts filters, so that each attempt is judged once by each. */
  #filters = 0;

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

  /** @param {import('./filter.js').Test | null} test null shows all */
  narrow(test) {
    this.#fits = test;
    this.#filters += 1;
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
      this.update(this.#store, this.#builtAt, this.#now);
    }
  }

  /**
   * Returns after how many ms there is more to arrange, or null when all is.
   * @param {AttemptStore} store @param {number} clock ms, of any beginning @param {number} now by the trace's time
   */
  update(store, clock, now) {
    if (store !== this.#store) {
      this.#toggled.clear();
      this.#pinned.clear();
    } else if (this.#seen === store.version) {
      return null;
    } else if (this.#seen >= 0 && clock - this.#builtAt < store.size / PACE) {
      return store.size / PACE - (clock - this.#builtAt);
    }
    this.#store = store;
    this.#seen = store.version;
    this.#builtAt = clock;
    this.#now = now;
    this.#rows = this.#build(store.list());
    this.version += 1;
    return null;
  }

  /** @param {readonly Attempt[]} all */
  #build(all) {
    const { group } = this.arrangement;
    const attempts = this.#fits ? all.filter((attempt) => this.#judge(attempt)) : all;
    this.hidden = all.length - attempts.length;
    if (!Object.hasOwn(GROUPS, group)) return this.#layOut(attempts);
    /** @type {Map<string, Attempt[]>} */
    const groups = new Map();
    for (const attempt of attempts) {
      const label = labelOf(attempt, group);
      const members = groups.get(label);
      if (members) members.push(attempt);
      else groups.set(label, [attempt]);
    }
    const heads = [...groups].map(([label, members]) => this.#head('group', `${group}:${label}`, members, label));
    return this.#sort(heads).flatMap((head) => [head, ...(isHead(head) && head.open ? this.#layOut(head.attempts) : [])]);
  }

  /** Judged again after each change, and while its duration grows. @param {Attempt} attempt */
  #judge(attempt) {
    if (attempt.judged !== this.#filters || attempt.state === 'pending') {
      attempt.judged = this.#filters;
      attempt.fits = this.#fits?.(attempt, this.#now) ?? true;
    }
    return attempt.fits;
  }

  /** @param {readonly Attempt[]} attempts */
  #layOut(attempts) {
    if (!this.arrangement.fold) return this.#sort(attempts);
    const apart = this.#pinned.size === 0 ? undefined : (/** @type {Attempt} */ attempt) => this.#pinned.has(attempt.ordinal);
    const folded = foldStorms(attempts, apart);
    const rows = folded.map((entry) => ('members' in entry ? this.#head('storm', `storm:${entry.run.id}`, entry.members) : entry));
    const sorted = this.#sort(rows);
    if (!sorted.some((row) => isHead(row) && row.open)) return sorted;
    return sorted.flatMap((row) => (isHead(row) && row.open ? [row, ...row.attempts] : [row]));
  }

  /** @param {'group' | 'storm'} kind @param {string} key @param {readonly Attempt[]} attempts @param {string} [label] */
  #head(kind, key, attempts, label) {
    return new Head(kind, key, attempts, this.#toggled.has(key) !== (kind === 'group'), this.#pinned.has(key), label);
  }

  /** @param {readonly Row[]} rows */
  #sort(rows) {
    return sorted(rows, this.arrangement.sort, (row) => this.#pinned.has(keyOf(row)));
  }
}

/** @template T @param {Set<T>} set @param {T} value */
function flip(set, value) {
  if (!set.delete(value)) set.add(value);
}
