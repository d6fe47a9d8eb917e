// What the address says is open: the trace, the attempt, and how they are looked at, so that a link shows the
// same thing. What is as it always is at first is left out.

import { GROUPS, PLAIN } from './rows.js';
import { COLUMNS, orderOf } from './sort.js';

/**
 * @typedef {import('./rows.js').Arrangement & { range: import('./scale.js').Domain | null }} Look
 * @typedef {{ trace: string | null, attempt: number | null, look: Look }} Route
 */

/** @param {string} hash @returns {Route} */
export function parseRoute(hash) {
  const fragment = new URLSearchParams(hash.replace(/^#/, ''));
  const attempt = Number(fragment.get('attempt'));
  const [from, to] = ['from', 'to'].map((name) => Number(fragment.get(name)));
  const [group, sort] = [fragment.get('group') ?? '', fragment.get('sort') ?? ''];
  return {
    trace: fragment.get('trace') || null,
    attempt: Number.isSafeInteger(attempt) && attempt > 0 ? attempt : null,
    look: {
      group: Object.hasOwn(GROUPS, group) ? group : PLAIN.group,
      sort: COLUMNS.includes(orderOf(sort).column) ? sort : PLAIN.sort,
      fold: fragment.get('fold') !== '0',
      filter: fragment.get('filter') ?? '',
      range: from > 0 && to > from && to < 1e14 ? { from, to } : null,
    },
  };
}

/** @param {Route} route */
export function formatRoute({ trace, attempt, look }) {
  if (!trace) return '';
  const { range } = look;
  /** @type {[string, string | null][]} */
  const parts = [
    ['trace', trace],
    ['attempt', attempt === null ? null : String(attempt)],
    ['from', range && range.from.toFixed(4)],
    ['to', range && range.to.toFixed(4)],
    ['group', look.group],
    ['sort', look.sort === PLAIN.sort ? null : look.sort],
    ['fold', look.fold ? null : '0'],
    ['filter', look.filter],
  ];
  return new URLSearchParams(parts.filter((part) => part[1]).map(([name, value]) => [name, value ?? ''])).toString();
}

/** @param {Route} route */
export function showRoute(route) {
  const fragment = formatRoute(route);
  const hash = fragment && `#${fragment}`;
  if (location.hash !== hash) history.replaceState(null, '', location.pathname + location.search + hash);
}
