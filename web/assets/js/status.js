// The line that is always there: connection, counters, losses; and the words for states that need some.

import { historyWords } from './capabilities.js';
import { OUTCOME_KEYS, outcomeOf } from './causes.js';
import { byId, el, glyph, setAttribute, setText } from './dom.js';
import { count, plural, visible } from './format.js';

/**
 * @typedef {import('./session.js').Session} Session
 * @typedef {import('./stream.js').Connection} Connection
 * @typedef {import('../../types/wire').Counters} Counters
 */

/** @type {Record<string, string>} */
const REASONS = {
  requested: 'stopped',
  ttl: 'ended at its time limit',
  max_events: 'ended at its limit of events',
  shutdown: 'ended with the server',
  error: 'failed',
  detached: 'failed: somebody detached its probes',
  interrupted: 'interrupted: the server died',
  imported: 'imported',
  recorded: 'recorded what matched',
};

/** Counters that are shown when something was counted. @type {[string, (counters: Counters) => number | undefined, string][]} */
const UNUSUAL = [
  ['Untracked', ({ attempts }) => attempts.untracked, 'Attempts that found the kernel\'s map full: nothing is known of them'],
  ['Replaced', ({ attempts }) => attempts.replaced, 'Attempts whose end was not seen: the socket started over'],
  ['Evicted', ({ attempts }) => attempts.evicted, 'Attempts whose end was not seen: they grew too old for the kernel\'s map'],
  ['Hooks missed', ({ attempts }) => attempts.missed, 'Times the kernel skipped a probe, because the processor was in it already'],
  ['Faults', ({ attempts }) => attempts.faults, 'Events given up because kernel memory could not be read'],
  ['Code not sent', ({ attempts }) => attempts.code_unsent, 'Failures told without the code of their process: the kernel\'s ring buffer had no room for it'],
  ['Not in history', ({ lost }) => lost.history, 'Events that were told, and could not be written to history'],
  ['Not looked up', ({ unasked }) => unasked, 'Events told without NAT, twin and listener: asking had taken its share of that second'],
];

const STAGES = new Map([
  ['ringbuf', 'in the kernel\'s ring buffer'],
  ['queue', 'in the server\'s queue'],
  ['ring', 'that left the server\'s ring before this page took them'],
  ['history', 'that could not be read from history'],
]);

/**
 * @param {Session | null} session @param {boolean} reachable @param {number} local
 * @param {import('../../types/wire').History | undefined} history
 */
export function drawStatus(session, reachable, local, history) {
  const { text, phase } = connectionText(session, reachable, local);
  const pill = byId('connection');
  setText(pill, text);
  setAttribute(pill, 'data-phase', phase);
  drawCounters(session);
  drawNotices(session, history);
  drawLegend(session);
}

/** @param {Session | null} session @param {boolean} reachable @param {number} local */
function connectionText(session, reachable, local) {
  if (!session) return reachable ? { text: 'ready', phase: 'idle' } : { text: 'server gone', phase: 'gone' };
  const { connection, state } = session;
  if (state.ended !== null && connection.phase !== 'missing') {
    return { text: Object.hasOwn(REASONS, state.ended) ? REASONS[state.ended] : visible(state.ended), phase: 'ended' };
  }
  switch (connection.phase) {
    case 'live': return state.trace?.state === 'armed' ? { text: 'armed', phase: 'armed' } : { text: 'live', phase: 'live' };
    case 'reconnecting': {
      const wait = Math.max(0, Math.ceil((connection.retryAt - local) / 1000));
      const what = connection.why === 'server' ? 'server gone' : 'reconnecting';
      return { text: wait > 0 ? `${what}, again in ${wait} s` : `${what}…`, phase: connection.why === 'server' ? 'gone' : 'reconnecting' };
    }
    case 'unauthorised': return { text: 'unauthorised', phase: 'gone' };
    case 'missing': return { text: 'trace discarded', phase: 'gone' };
    default: return { text: 'connecting', phase: 'connecting' };
  }
}

/** @param {Session | null} session */
function drawCounters(session) {
  const element = byId('counters');
  const counters = session?.state.counters;
  element.hidden = !counters;
  if (!session || !counters) return;
  const { attempts } = counters;
  const { lost, seq } = session.state;
  // What is here is newer than the heartbeat that counts it: the numbers must not contradict the lanes.
  const here = session.state.attempts.tally;
  const failed = Math.max(attempts.failed, here.failed);
  const connected = Math.max(attempts.established, attempts.quiet + here.established);
  /** @type {[string, number, string, boolean?][]} */
  const shown = [
    ['Started', Math.max(attempts.started, failed + connected + here.pending), 'Attempts that entered SYN_SENT'],
    ['Failed', failed, 'Attempts that ended without a connection'],
    ['Connected', connected, 'Attempts that succeeded'],
    ['Quick, not told', attempts.quiet, 'Connected quickly and without a retransmit; counted in the kernel only'],
    ['Events', Math.max(counters.delivered, seq), 'Events delivered by the kernel'],
    ['Lost', lost.total, lossWords(session), lost.total > 0],
  ];
  shown.push(...unusual(counters));
  if (session.state.attempts.dropped > 0) {
    shown.push(['Dropped here', session.state.attempts.dropped, 'The oldest attempts, to keep this page small', true]);
  }
  while (element.children.length > shown.length) element.lastElementChild?.remove();
  while (element.children.length < shown.length) element.append(el('div', {}, el('dt'), el('dd')));
  shown.forEach(([name, value, title, alert], index) => {
    const item = element.children[index];
    setAttribute(item, 'title', title);
    setAttribute(item, 'class', alert ? 'alert' : null);
    setText(item.children[0], name);
    setText(item.children[1], count(value));
  });
}

/** @param {Counters} counters @returns {[string, number, string, boolean][]} */
export function unusual(counters) {
  return UNUSUAL.map(([name, read, title]) => /** @type {[string, number, string, boolean]} */ ([name, read(counters) ?? 0, title, true]))
    .filter(([, value]) => value > 0);
}

/** @param {Session} session */
function lossWords({ state }) {
  const parts = [];
  const { ringbuf, queue } = state.lost;
  if (ringbuf > 0) parts.push(`${count(ringbuf)} ${STAGES.get('ringbuf')}`);
  if (queue > 0) parts.push(`${count(queue)} ${STAGES.get('queue')}`);
  for (const [stage, number] of state.missed) parts.push(`${count(number)} ${STAGES.get(stage) ?? `not sent to this page (${visible(stage)})`}`);
  return parts.length > 0 ? parts.join(', ') : 'No event was lost';
}

/** @param {Session | null} session @param {import('../../types/wire').History | undefined} history */
function drawNotices(session, history) {
  /** @type {string[]} */
  const words = [];
  if (session) {
    const { state, connection } = session;
    if (state.lost.total > 0) {
      words.push(`${plural(state.lost.total, 'event')} lost: ${lossWords(session)}. The hatched times are incomplete.`);
    }
    if (state.expired > 0) words.push(`${plural(state.expired, 'older event')} had left the server's memory before this page was opened.`);
    if (state.shortfall) {
      const { seconds, asked } = state.shortfall;
      words.push(`The recording reaches back ${seconds.toFixed(1)} s before its match, not ${asked} s: the server's memory held no more.`);
    }
    if (state.attempts.dropped > 0) words.push(`This page holds the newest ${count(state.attempts.size)} attempts; ${count(state.attempts.dropped)} older ones were dropped from it.`);
    if (session.restarted) words.push('The server was restarted, and the trace ended with it. What was received stays here; what history holds beyond it was read from there.');
    if (connection.phase === 'missing') words.push('The server no longer has this trace: it was deleted, or the server was restarted. What was received stays here.');
    if (connection.phase === 'reconnecting' && connection.why === 'server') words.push('The server does not answer. What was received stays here; new events follow when it is back.');
  }
  // Off was somebody's wish; what went wrong is said wherever one looks.
  if (history?.detail && history.state !== 'off') words.push(historyWords(history));
  const element = byId('notices');
  while (element.children.length > words.length) element.lastElementChild?.remove();
  while (element.children.length < words.length) element.append(el('p'));
  words.forEach((text, index) => setText(element.children[index], text));
}

/** @param {Session | null} session */
function drawLegend(session) {
  const element = byId('legend');
  const outcomes = session?.state.attempts.outcomes ?? new Map();
  const keys = [...outcomes.keys()].sort((a, b) => OUTCOME_KEYS.indexOf(a) - OUTCOME_KEYS.indexOf(b));
  const drawn = keys.join(' ');
  if (element.dataset.drawn !== drawn) {
    element.dataset.drawn = drawn;
    element.replaceChildren(...keys.map((key) => {
      const how = outcomeOf(key);
      const item = el('li', { 'data-outcome': OUTCOME_KEYS.includes(key) ? key : 'other' });
      item.append(glyph(how, key), el('b'), ` ${how.label}`);
      return item;
    }));
  }
  keys.forEach((key, index) => {
    const number = element.children[index].querySelector('b');
    if (number) setText(number, count(outcomes.get(key) ?? 0));
  });
}
