// How each outcome of an attempt looks and is called. Every outcome has its own glyph, so that colour is
// never the only difference; colours are shared within a family. Pure.

/**
 * @typedef {object} Outcome
 * @property {string} label
 * @property {string} colour name of a CSS variable
 * @property {string} glyph  strokes on a 12 × 12 grid
 */

const CIRCLE = 'M6 1.2a4.8 4.8 0 1 1 0 9.6a4.8 4.8 0 1 1 0 -9.6';
const SQUARE = 'M1.8 1.8h8.4v8.4h-8.4z';

/** @type {Record<string, Outcome>} */
const OUTCOMES = {
  pending: { label: 'pending', colour: '--c-pending', glyph: 'M2.2 6h.1M6 6h.1M9.8 6h.1' },
  established: { label: 'connected', colour: '--c-established', glyph: 'M1.6 6.6l2.9 3l5.9-7.2' },
  // The peer said no.
  refused: { label: 'refused', colour: '--c-refused', glyph: 'M2.2 2.2l7.6 7.6M9.8 2.2l-7.6 7.6' },
  port_unreachable: { label: 'port unreachable', colour: '--c-refused', glyph: `${SQUARE}M4.2 4.2l3.6 3.6M7.8 4.2l-3.6 3.6` },
  // The network said no.
  host_unreachable: { label: 'host unreachable', colour: '--c-unreachable', glyph: 'M1 6h5.4M9.6 2v8M6.4 6l-2-2M6.4 6l-2 2' },
  net_unreachable: { label: 'net unreachable', colour: '--c-unreachable', glyph: 'M1 6h2.6M8.4 6h2.6M4.6 2l2.8 8' },
  no_route: { label: 'no route', colour: '--c-unreachable', glyph: 'M6 11v-4.6M6 6.4l-4-4M6 6.4l4-4M2 4.6v-2.2h2.2M10 4.6v-2.2h-2.2' },
  // Nobody said anything.
  timeout: { label: 'timed out', colour: '--c-timeout', glyph: `${CIRCLE}M6 3.4v2.8l2 1.4` },
  // The application let go.
  closed_by_app: { label: 'gave up', colour: '--c-app', glyph: 'M6.4 2h-4.2v8h4.2M4.8 6h6.2M9 4l2 2l-2 2' },
  killed: { label: 'killed', colour: '--c-app', glyph: 'M7 1l-4 5.6h4.4l-2.8 4.4' },
  // This host said no.
  no_local_port: { label: 'no local port', colour: '--c-local', glyph: 'M6 1.4l5 9h-10zM6 4.8v2.6M6 9h.1' },
  denied: { label: 'denied', colour: '--c-local', glyph: `${CIRCLE}M3.4 6h5.2` },
  other: { label: 'failed', colour: '--c-other', glyph: 'M3.6 4.2a2.4 2.4 0 1 1 3.4 2.2q-1 .5 -1 1.6M6 10.4h.1' },
};

/** Order in which outcomes are listed. */
export const OUTCOME_KEYS = Object.keys(OUTCOMES);

/** @param {{ cause: string | null, state: string }} attempt */
export function outcomeKey(attempt) {
  const key = attempt.cause ?? attempt.state;
  return Object.hasOwn(OUTCOMES, key) ? key : 'other';
}

/** @param {{ cause: string | null, state: string }} attempt */
export function outcome(attempt) {
  return OUTCOMES[outcomeKey(attempt)];
}

/** @param {string} key one of OUTCOME_KEYS, or a cause this page does not know */
export function outcomeOf(key) {
  return OUTCOMES[Object.hasOwn(OUTCOMES, key) ? key : 'other'];
}
