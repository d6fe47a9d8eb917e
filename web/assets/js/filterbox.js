// The filter box: what is typed is read by the server, completed as it is typed, and marked where it cannot be read.

import { Refused } from './api.js';
import { suggest } from './complete.js';
import { byId, el, kindById, setAttribute, setText } from './dom.js';
import { compileFilter } from './filter.js';
import { visible } from './format.js';

/**
 * @typedef {import('../../types/wire').FilterField} Field
 * @typedef {{ test: import('./filter.js').Test | null, text: string }} Filter
 */

/** Typing is over when nothing was typed for so many ms. */
const PAUSE = 150;

export class FilterBox {
  #input = kindById('filter', HTMLInputElement);
  #list = byId('filter-options');
  #problem = byId('filter-problem');
  #api;
  #apply;
  #seen;
  /** @type {Field[]} */
  #fields = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** What was asked last; an answer to something older is too late. */
  #asked = '';
  /** @type {import('./complete.js').Suggestion} */
  #offered = { from: 0, to: 0, naming: false, options: [] };
  #active = -1;

  /**
   * @param {() => import('./api.js').Api | null} api @param {(filter: Filter) => void} apply
   * @param {(field: Field) => readonly string[]} seen values of a field that attempts here have
   */
  constructor(api, apply, seen) {
    this.#api = api;
    this.#apply = apply;
    this.#seen = seen;
    this.#input.addEventListener('input', () => this.#typed());
    this.#input.addEventListener('focus', () => this.#learn());
    this.#input.addEventListener('blur', () => this.#left());
    this.#input.addEventListener('keydown', (event) => this.#key(event));
    // Not `click`: the box must keep the focus.
    this.#list.addEventListener('pointerdown', (event) => {
      event.preventDefault();
      const option = event.target instanceof Element ? event.target.closest('li') : null;
      if (option) this.#take(Number(option.dataset.index));
    });
  }

  /** @param {string} text */
  set(text) {
    if (this.#input.value === text && this.#asked === text) return;
    this.#input.value = text;
    this.#read();
  }

  #typed() {
    clearTimeout(this.#timer);
    this.#complete();
    // The first letters of a field's name are no word to look for yet.
    if (!this.#offered.naming) this.#timer = setTimeout(() => this.#read(), PAUSE);
  }

  #left() {
    this.#offer([]);
    if (this.#input.value !== this.#asked) this.#read();
  }

  async #learn() {
    if (this.#fields.length > 0) return;
    try {
      const fields = await this.#api()?.filterFields() ?? [];
      if (this.#fields.length > 0) return;
      this.#fields = fields;
    } catch {
      // Without them nothing is completed, and reading says what is wrong.
      return;
    }
    // What was typed while they were on their way has not been completed.
    if (document.activeElement === this.#input && this.#input.value !== '') this.#complete();
  }

  async #read() {
    clearTimeout(this.#timer);
    const text = this.#input.value;
    this.#asked = text;
    try {
      await this.#learn();
      const terms = text.trim() === '' ? [] : (await this.#api()?.filter(text))?.terms ?? [];
      if (this.#asked !== text) return;
      this.#show(null, text);
      this.#apply({ text, test: compileFilter(terms, this.#fields) });
    } catch (error) {
      if (this.#asked === text) this.#show(error, text);
    }
  }

  /** @param {unknown} error @param {string} text */
  #show(error, text) {
    this.#problem.hidden = error === null;
    setAttribute(this.#input, 'aria-invalid', error === null ? null : 'true');
    if (!(error instanceof Refused)) {
      setText(this.#problem, error === null ? '' : 'The server reads filters, and does not answer. The last filter still applies.');
      return;
    }
    const { detail, remedy, position } = error.problem;
    const [before, wrong, after] = position ? cut(text, position) : ['', '', ''];
    const place = position ? [el('code', {}, visible(before), el('mark', {}, visible(wrong) || '␣'), visible(after)), ' '] : [];
    this.#problem.replaceChildren(...place, `${visible(detail ?? error.message)}. `, el('span', { class: 'hint' }, visible(remedy ?? '')));
  }

  #complete() {
    const caret = this.#input.selectionStart ?? 0;
    this.#offered = suggest(this.#input.value, caret, this.#fields, this.#seen);
    this.#offer(this.#offered.options);
  }

  /** @param {readonly import('./complete.js').Option[]} options */
  #offer(options) {
    this.#active = -1;
    this.#list.hidden = options.length === 0;
    setAttribute(this.#input, 'aria-expanded', String(options.length > 0));
    setAttribute(this.#input, 'aria-activedescendant', null);
    this.#list.replaceChildren(...options.map(({ text, meaning }, index) => el('li', { role: 'option', id: `filter-option-${index}`, 'data-index': String(index), 'aria-selected': 'false' },
      el('code', {}, visible(text)), ' ', el('span', { class: 'hint' }, meaning))));
  }

  /** @param {number} index */
  #point(index) {
    const { length } = this.#offered.options;
    this.#active = (index + length) % length;
    [...this.#list.children].forEach((option, at) => setAttribute(option, 'aria-selected', String(at === this.#active)));
    setAttribute(this.#input, 'aria-activedescendant', `filter-option-${this.#active}`);
  }

  /** @param {number} index */
  #take(index) {
    const { from, to, options } = this.#offered;
    const option = options[index];
    if (!option) return;
    this.#input.setRangeText(option.text, from, to, 'end');
    this.#typed();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const open = !this.#list.hidden;
    if (event.key === 'Escape') {
      if (open) this.#offer([]);
      else this.#input.blur();
    } else if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      if (!open) this.#complete();
      if (!this.#list.hidden) this.#point(event.key === 'ArrowDown' ? this.#active + 1 : Math.max(this.#active, 0) - 1);
    } else if (open && this.#active >= 0 && (event.key === 'Enter' || event.key === 'Tab')) {
      this.#take(this.#active);
    } else {
      if (event.key === 'Enter') this.#left();
      return;
    }
    event.preventDefault();
  }
}

/** A text before, in and behind a part that is given in bytes. @param {string} text @param {{ start: number, end: number }} part */
function cut(text, { start, end }) {
  const bytes = new TextEncoder().encode(text);
  return [[0, start], [start, end], [end, bytes.length]].map(([from, to]) => new TextDecoder().decode(bytes.subarray(from, to)));
}
