// Everything about one attempt.

import { outcome, outcomeKey } from './causes.js';
import { copyButtons } from './copy.js';
import { el, glyph, linkTo, setText } from './dom.js';
import { connection, eventName, owner, story, surroundings } from './facts.js';
import { clock, duration, plural } from './format.js';
import { NO_STACK } from './intern.js';
import { diagram, stepsOf } from './sequence.js';
import { stack } from './stack.js';

/** @typedef {import('./attempts.js').Attempt} Attempt */

export class Drawer {
  #element;
  #close;
  #narrow;
  #links;
  /** @type {Attempt | null} */
  #attempt = null;
  #shown = '';
  #sentence = el('p', { class: 'sentence' });
  #heading = el('h2', { tabindex: '-1' });

  /**
   * @param {HTMLElement} element @param {() => void} close @param {import('./dom.js').Links} links
   * @param {(attempt: Attempt, at: { x: number, y: number }) => void} narrow
   */
  constructor(element, close, links, narrow) {
    this.#element = element;
    this.#close = close;
    this.#narrow = narrow;
    this.#links = links;
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
    const told = story(attempt, now);
    // Rebuilt only when the attempt has changed: a rebuilt drawer loses what was unfolded or marked in it.
    const version = `${attempt.id}/${attempt.lastSeq}/${attempt.marks.length}/${attempt.uncertain}`;
    if (version !== this.#shown) {
      this.#rebuild(attempt, told.next);
      this.#shown = version;
    }
    setText(this.#sentence, told.summary);
  }

  /** @param {Attempt} attempt @param {string} next */
  #rebuild(attempt, next) {
    const how = outcome(attempt);
    const close = el('button', { type: 'button', class: 'close', 'aria-label': 'Close the details', title: 'Close (Esc)' }, '×');
    close.addEventListener('click', this.#close);
    const narrow = el('button', { type: 'button', 'aria-haspopup': 'menu', title: 'Only this, not this (m)' }, 'Only, not…');
    narrow.addEventListener('click', () => {
      const { left: x, bottom: y } = narrow.getBoundingClientRect();
      this.#narrow(attempt, { x, y });
    });
    this.#heading.replaceChildren(glyph(how, outcomeKey(attempt)), ` ${how.label}`);
    const advice = next ? [el('p', { class: 'next' }, ...withCode(next))] : [];
    const scrolled = this.#element.scrollTop;
    const held = this.#element.contains(document.activeElement);
    this.#element.dataset.outcome = outcomeKey(attempt);
    this.#element.replaceChildren(
      el('header', {}, this.#heading, narrow, close),
      this.#sentence,
      ...advice,
      section('What happened when', timeTable(attempt)),
      section('Connection', this.#list(connection(attempt))),
      ...this.#around(attempt),
      section('Owner', attempt.process ? this.#list(owner(attempt)) : el('p', { class: 'hint' }, 'Not known: the attempt began before the trace.')),
      ...stacks(attempt),
      copyButtons(attempt, this.#links.trace),
    );
    this.#element.scrollTop = scrolled;
    if (held) this.focus();
  }

  /** @param {Attempt} attempt */
  #around(attempt) {
    const list = this.#list(surroundings(attempt));
    return list.children.length > 0 ? [section('Around it', list)] : [];
  }

  /** @param {import('./facts.js').Fact[]} facts */
  #list(facts) {
    const known = facts.filter(([, text]) => text);
    return el('dl', { class: 'facts' }, ...known.map(([name, text, attempt]) => {
      const value = el('dd', {}, `${text} `, ...linkTo(this.#links, attempt));
      return el('div', {}, el('dt', {}, name), value);
    }));
  }
}

/** What stands between backticks is to be typed. @param {string} text */
function withCode(text) {
  return text.split('`').map((part, index) => (index % 2 === 1 ? el('code', {}, part) : part));
}

/** @param {string} title @param {...Node} content */
function section(title, ...content) {
  return el('section', {}, el('h3', {}, title), ...content);
}

/** @param {Attempt} attempt */
function timeTable(attempt) {
  const steps = stepsOf(attempt);
  const rows = steps.map(({ what, time, kind }, index) => el('tr', { 'data-kind': kind },
    el('th', { scope: 'row' }, what),
    el('td', { title: clock(time, 6) }, clock(time)),
    el('td', {}, index === 0 ? '' : `+${duration(time - attempt.start)}`),
    el('td', {}, index === 0 ? '' : duration(time - steps[index - 1].time))));
  const head = el('tr', {}, ...['Step', 'Time', 'Since start', 'Interval'].map((name) => el('th', { scope: 'col' }, name)));
  const drawn = diagram(attempt, steps);
  const table = el('table', { class: 'steps' }, el('thead', {}, head), el('tbody', {}, ...rows));
  const unseen = attempt.synRetransmits - attempt.retransmits.length;
  if (unseen <= 0) return el('div', {}, drawn, table);
  return el('div', {}, drawn, table, el('p', { class: 'hint' }, `The kernel counted ${plural(unseen, 'more retransmit')}, whose events did not arrive here.`));
}

/** @param {Attempt} attempt */
function stacks({ userStack, marks }) {
  const told = marks.filter((mark) => mark.kernel !== NO_STACK).reverse();
  const kernel = told.map((mark, index) => {
    const title = el('summary', {}, `${eventName(mark.event)} `, el('span', { class: 'hint' }, clock(mark.time)));
    return el('details', index === 0 ? { open: '' } : {}, title, framesOf(mark.kernel));
  });
  const absent = () => el('p', { class: 'hint' }, 'None was recorded.');
  return [
    section('User stack at connect()', userStack === NO_STACK ? absent() : framesOf(userStack)),
    section('Kernel stack at each event', ...(kernel.length > 0 ? kernel : [absent()])),
  ];
}

/** @param {import('./intern.js').Stack} told */
function framesOf({ frames }) {
  if (frames) return stack(frames);
  return el('p', { class: 'hint' }, 'This page has forgotten it, to stay small; the call that “Copy curl” copies asks the server for it.');
}
