// What the address says is open: `#trace=ID&attempt=ID`, so that a link shows the same thing.

/** @typedef {{ trace: string | null, attempt: number | null }} Route */

/** @param {string} hash @returns {Route} */
export function parseRoute(hash) {
  const fragment = new URLSearchParams(hash.replace(/^#/, ''));
  const attempt = Number(fragment.get('attempt'));
  return {
    trace: fragment.get('trace') || null,
    attempt: Number.isSafeInteger(attempt) && attempt > 0 ? attempt : null,
  };
}

/** @param {Route} route */
export function formatRoute(route) {
  const fragment = new URLSearchParams();
  if (route.trace) fragment.set('trace', route.trace);
  if (route.trace && route.attempt !== null) fragment.set('attempt', String(route.attempt));
  return fragment.toString();
}

/** @param {Route} route */
export function showRoute(route) {
  const fragment = formatRoute(route);
  history.replaceState(null, '', location.pathname + location.search + (fragment ? `#${fragment}` : ''));
}
