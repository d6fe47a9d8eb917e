// Everything about one attempt.

import { outcome, outcomeKey } from './causes.js';
import { el, glyph, setText } from './dom.js';
import { explain } from './explain.js';
import { clock, dateTime, duration, endpoint, plural, visible } from './format.js';
import { stack } from './stack.js';

/** @typedef {import('./attempts.js').Attempt} Attempt */

/** @type {Record<string, string>} */
const EVENT_NAMES = {
  'connect.start': 'start',
  'connect.retransmit': 'SYN retransmit',
  'connect.challenge': 'challenge ACK',
  'connect.established': 'connected',
  'connect.failed': 'the end',
  'skb.drop': 'packet dropped',
};

export class Drawer {
  #element;
  #close;
  /** @type {Attempt | null} */
  #attempt = null;
  #shown = '';
  #sentence = el('p', { class: 'sentence' });
  #heading = el('h2', { tabindex: '-1' });

  /** @param {HTMLElement} element @param {() => void} close */
  constructor(element, close) {
    this.#element = element;
    this.#close = close;
  }

  get open() {
    return this.#attempt !== null;
  }

  focus() {
    this.#heading.focus();
  }

  /** @param {Attempt | null} attempt @param {number} now */
  draw(attempt, now) {
    this.#attempt = attempt;
    this.#element.hidden = attempt === null;
    if (!attempt) {
      this.#shown = '';
      return;
    }
    const told = explain(attempt, now);
    // Rebuilt only when the attempt has changed: a rebuilt drawer loses what was unfolded or marked in it.
    const version = `${attempt.id}/${attempt.lastSeq}/${attempt.marks.length}/${attempt.uncertain}`;
    if (version !== this.#shown) {
      this.#rebuild(attempt, told.next);
      this.#shown = version;
    }
    setText(this.#sentence, told.sentence);
  }

  /** @param {Attempt} attempt @param {string} next */
  #rebuild(attempt, next) {
    const how = outcome(attempt);
    const close = el('button', { type: 'button', class: 'close', 'aria-label': 'Close the details', title: 'Close (Esc)' }, '×');
    close.addEventListener('click', this.#close);
    this.#heading.replaceChildren(glyph(how, outcomeKey(attempt)), ` ${how.label}`);
    const advice = next ? [el('p', { class: 'next' }, next)] : [];
    const scrolled = this.#element.scrollTop;
    const held = this.#element.contains(document.activeElement);
    this.#element.dataset.outcome = outcomeKey(attempt);
    this.#element.replaceChildren(
      el('header', {}, this.#heading, close),
      this.#sentence,
      ...advice,
      section('What happened when', timeTable(attempt)),
      section('Connection', connection(attempt)),
      section('Owner', owner(attempt)),
      ...stacks(attempt),
    );
    this.#element.scrollTop = scrolled;
    if (held) this.focus();
  }
}

/** @param {string} event */
function nameOf(event) {
  return Object.hasOwn(EVENT_NAMES, event) ? EVENT_NAMES[event] : visible(event);
}

/** @param {string} title @param {...Node} content */
function section(title, ...content) {
  return el('section', {}, el('h3', {}, title), ...content);
}

/** @param {[string, string | number | undefined][]} facts */
function list(facts) {
  const known = facts.filter(([, value]) => value !== undefined && value !== '');
  return el('dl', { class: 'facts' }, ...known.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, String(value)))));
}

/** @param {Attempt} attempt */
function timeTable(attempt) {
  /** @type {{ what: string, time: number, kind: string }[]} */
  const steps = [{ what: 'SYN', time: attempt.start, kind: 'syn' }];
  attempt.retransmits.forEach((time, index) => steps.push({ what: `SYN again (${index + 1})`, time, kind: 'syn' }));
  for (const mark of attempt.marks) {
    if (!/^connect\.(start|retransmit|established|failed)$/.test(mark.event)) {
      steps.push({ what: nameOf(mark.event), time: mark.time, kind: 'other' });
    }
  }
  steps.sort((a, b) => a.time - b.time);
  if (attempt.end !== null) steps.push({ what: outcome(attempt).label, time: attempt.end, kind: 'end' });
  const rows = steps.map(({ what, time, kind }, index) => el('tr', { 'data-kind': kind },
    el('th', { scope: 'row' }, what),
    el('td', { title: clock(time, 6) }, clock(time)),
    el('td', {}, index === 0 ? '' : `+${duration(time - attempt.start)}`),
    el('td', {}, index === 0 ? '' : duration(time - steps[index - 1].time))));
  const head = el('tr', {}, ...['', 'Time', 'Since start', 'Interval'].map((name) => el('th', { scope: 'col' }, name)));
  const table = el('table', { class: 'steps' }, el('thead', {}, head), el('tbody', {}, ...rows));
  const unseen = attempt.synRetransmits - attempt.retransmits.length;
  if (unseen <= 0) return table;
  return el('div', {}, table, el('p', { class: 'hint' }, `The kernel counted ${plural(unseen, 'more retransmit')}, whose events did not arrive here.`));
}

/** @param {Attempt} attempt */
function connection({ network, connect, error, start, process }) {
  const unbound = network.local && network.local.port === 0 ? ' (port not chosen yet)' : '';
  return list([
    ['Peer', endpoint(network.peer)],
    ['Local', endpoint(network.local) + unbound],
    ['Protocol', network.type ? `TCP over ${network.type === 'ipv6' ? 'IPv6' : 'IPv4'}` : 'TCP'],
    ['Began', dateTime(start)],
    ['Error', error ? visible(error) + (connect.errno ? ` (${connect.errno})` : '') : undefined],
    ['Soft error', connect.soft_error ? visible(String(connect.soft_error)) : undefined],
    ['Challenge ACKs', connect.challenges || undefined],
    ['Net namespace', process?.netns],
  ]);
}

/** @param {Attempt} attempt */
function owner({ process, container }) {
  if (!process) return el('p', { class: 'hint' }, 'Not known: the attempt began before the trace.');
  return list([
    ['Thread name', process.comm === undefined ? undefined : visible(process.comm)],
    ['Process', process.pid],
    ['Thread', process.tid === process.pid ? undefined : process.tid],
    ['User', process.user?.id],
    ['Cgroup', process.cgroup === undefined ? undefined : visible(process.cgroup)],
    ['Container', container === undefined ? undefined : visible(container)],
  ]);
}

/** @param {Attempt} attempt */
function stacks({ userStack, marks }) {
  const told = marks.filter((mark) => mark.kernel.length > 0).reverse();
  const kernel = told.map((mark, index) => {
    const title = el('summary', {}, `${nameOf(mark.event)} `, el('span', { class: 'hint' }, clock(mark.time)));
    return el('details', index === 0 ? { open: '' } : {}, title, stack(mark.kernel));
  });
  const absent = () => el('p', { class: 'hint' }, 'None was recorded.');
  return [
    section('User stack at connect()', userStack.length > 0 ? stack(userStack) : absent()),
    section('Kernel stack at each event', ...(kernel.length > 0 ? kernel : [absent()])),
  ];
}
