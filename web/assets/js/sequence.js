// What went back and forth in an attempt: as steps, and drawn between this host and its peer.

import { outcome, outcomeKey } from './causes.js';
import { svg } from './dom.js';
import { eventName } from './facts.js';
import { duration, visible } from './format.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 *
 * @typedef {object} Step
 * @property {string} what
 * @property {number} time
 * @property {'syn' | 'other' | 'end'} kind
 * @property {'out' | 'in' | 'icmp' | 'here'} way from this host, from the peer, from a router, or within this host
 * @property {boolean} answered for a SYN: whether the next thing that happened is an answer
 */

/** Outcomes that somebody else brought about, with what arrived. @type {Map<string, [way: Step['way'], what: string]>} */
const ANSWERS = new Map([
  ['refused', ['in', 'RST']],
  ['established', ['in', 'SYN-ACK']],
  ['port_unreachable', ['icmp', 'ICMP']],
  ['host_unreachable', ['icmp', 'ICMP']],
  ['net_unreachable', ['icmp', 'ICMP']],
]);

/** @param {Attempt} attempt @returns {Step[]} in order */
export function stepsOf(attempt) {
  /** @type {Step[]} */
  const steps = [{ what: 'SYN', time: attempt.start, kind: 'syn', way: 'out', answered: false }];
  attempt.retransmits.forEach((time, index) => steps.push({ what: `SYN again (${index + 1})`, time, kind: 'syn', way: 'out', answered: false }));
  for (const mark of attempt.marks) {
    if (/^connect\.(start|retransmit|established|failed)$/.test(mark.event)) continue;
    const why = mark.reason ? `: ${visible(mark.reason)}` : '';
    steps.push({ what: eventName(mark.event) + why, time: mark.time, kind: 'other', way: mark.event === 'connect.challenge' ? 'in' : 'here', answered: false });
  }
  steps.sort((a, b) => a.time - b.time);
  if (attempt.end !== null) {
    const way = ANSWERS.get(outcomeKey(attempt))?.[0] ?? 'here';
    steps.push({ what: outcome(attempt).label, time: attempt.end, kind: 'end', way, answered: false });
  }
  steps.forEach((step, index) => { step.answered = step.way === 'out' && /in|icmp/.test(steps[index + 1]?.way ?? ''); });
  return steps;
}

/** Steps drawn; of more, the middle is left out. */
const MOST = 14;
const ROW = 24;
const TOP = 30;
const [HOST, ROUTER, PEER, WIDTH] = [92, 216, 340, 368];
/** What was sent is written over the part of its arrow that every arrow has. */
const LABEL = HOST + 12;

/** The table beside it says the same in words. @param {Attempt} attempt @param {readonly Step[]} steps */
export function diagram(attempt, steps) {
  const shown = steps.length <= MOST ? [...steps] : [...steps.slice(0, MOST / 2), null, ...steps.slice(-MOST / 2)];
  const height = TOP + shown.length * ROW + 6;
  const text = (/** @type {number} */ x, /** @type {number} */ y, /** @type {string} */ words, /** @type {string} */ anchor) =>
    svg('text', { x, y, 'text-anchor': anchor }, words);
  return svg('svg', { viewBox: `0 0 ${WIDTH} ${height}`, class: 'sequence', 'aria-hidden': 'true' },
    text(HOST, 14, 'this host', 'middle'), text(PEER, 14, 'peer', 'middle'),
    svg('path', { class: 'life', d: `M${HOST} 20V${height}M${PEER} 20V${height}` }),
    ...shown.flatMap((step, index) => {
      const y = TOP + index * ROW + ROW / 2;
      if (!step) return [text(ROUTER, y, `… ${steps.length - MOST} more …`, 'middle')];
      const time = text(HOST - 10, y + 4, step === steps[0] ? '0' : `+${duration(step.time - attempt.start)}`, 'end');
      return [time, ...arrow(step, y, outcomeKey(attempt)), ...(step.way === 'here' ? [] : [text(LABEL, y - 4, label(step, attempt), 'start')])];
    }));
}

/** @param {Step} step @param {Attempt} attempt */
function label(step, attempt) {
  if (step.kind === 'end') return ANSWERS.get(outcomeKey(attempt))?.[1] ?? '';
  return step.kind === 'syn' ? 'SYN' : step.what;
}

/** @param {Step} step @param {number} y @param {string} key */
function arrow(step, y, key) {
  if (step.way === 'here') {
    const cross = svg('path', { class: 'sign', d: `M${HOST - 4} ${y - 4}l8 8M${HOST + 4} ${y - 4}l-8 8` });
    return [cross, svg('text', { x: HOST + 12, y: y + 4 }, step.what)];
  }
  if (step.way === 'out') {
    // What nobody answered may have been lost anywhere.
    const until = step.answered ? PEER - 1 : ROUTER;
    const lost = step.answered ? [] : [svg('path', { class: 'lost', d: `M${ROUTER} ${y}H${PEER - 8}` })];
    return [svg('path', { class: 'sign', d: `M${HOST} ${y}H${until}m-5 -3.5l5 3.5l-5 3.5` }), ...lost];
  }
  const from = step.way === 'icmp' ? ROUTER + 30 : PEER;
  return [svg('path', { class: step.kind === 'end' ? 'sign' : 'sign alert', 'data-outcome': key, d: `M${from} ${y}H${HOST + 1}m5 -3.5l-5 3.5l5 3.5` })];
}
