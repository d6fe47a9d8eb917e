// An attempt as text to take elsewhere.

import { el, setText } from './dom.js';
import { filterFor } from './filter.js';

/** @typedef {import('./attempts.js').Attempt} Attempt */

/** @param {Attempt} attempt */
export function asJson({ id, state, start, end, retransmits, network, process, error, connect, around, userStack, marks }) {
  const kernel = marks.at(-1)?.kernel.frames ?? [];
  return JSON.stringify({
    attempt: id, state, start: new Date(start).toISOString(), end: end === null ? undefined : new Date(end).toISOString(),
    retransmits: retransmits.map((time) => new Date(time).toISOString()),
    network, process, error: error && { type: error }, tcp: { connect }, ...around, stack: { user: userStack.frames ?? [], kernel },
  }, null, 2);
}

/** The call that answers with the attempt's events. @param {Attempt} attempt @param {string} origin @param {string} trace */
export function asCurl({ marks, lastSeq }, origin, trace) {
  const first = marks[0]?.seq ?? lastSeq;
  const limit = Math.min(1000, lastSeq - first + 1);
  return `curl -H "Authorization: Bearer $SYNSCOPE_TOKEN" '${origin}/api/v1/traces/${encodeURIComponent(trace)}/events?after=${first - 1}&limit=${limit}'`;
}

/** @param {Attempt} attempt @param {() => string} trace its id */
export function copyButtons(attempt, trace) {
  const said = el('span', { class: 'hint', role: 'status' });
  /** @type {[string, () => string][]} */
  const kinds = [['JSON', () => asJson(attempt)], ['curl', () => asCurl(attempt, location.origin, trace())], ['filter', () => filterFor(attempt)]];
  const buttons = kinds.map(([name, text]) => {
    const button = el('button', { type: 'button' }, `Copy ${name}`);
    button.addEventListener('click', () => {
      // Browsers offer the clipboard to pages from this machine or over TLS only.
      const done = navigator.clipboard ? navigator.clipboard.writeText(text()) : Promise.reject();
      done.then(() => setText(said, 'copied'), () => setText(said, 'the browser did not allow it'));
    });
    return button;
  });
  return el('p', { class: 'copy' }, ...buttons, said);
}
