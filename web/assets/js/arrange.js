// The controls that say how attempts are arranged.

import { byId, el, kindById } from './dom.js';
import { FilterBox } from './filterbox.js';
import { GROUPS } from './rows.js';
import { nextSort, orderOf } from './sort.js';

/** @typedef {import('./rows.js').Arrangement} Arrangement */

/** Orders that are offered without a click on a column's head. */
const SORTS = { told: 'as told', '-failures': 'failures', '-time': 'recency', '-took': 'duration' };

export class ArrangePanel {
  #group = kindById('group', HTMLSelectElement);
  #sort = kindById('sort', HTMLSelectElement);
  #fold = kindById('fold', HTMLInputElement);
  #heads = [...byId('list').querySelectorAll('[data-sort]')].map((button) => /** @type {HTMLElement} */ (button));
  #filter;
  #rows;
  #changed;

  /**
   * @param {import('./rows.js').Rows} rows @param {() => void} changed @param {() => import('./api.js').Api | null} api
   * @param {(field: import('../../types/wire').FilterField) => readonly string[]} seen
   */
  constructor(rows, changed, api, seen) {
    this.#rows = rows;
    this.#changed = changed;
    this.#filter = new FilterBox(api, ({ text, test }) => {
      rows.narrow(test);
      this.#arrange({ filter: text });
    }, seen);
    this.#group.append(...Object.keys(GROUPS).map((name) => el('option', { value: name }, name)));
    this.#sort.append(...Object.entries(SORTS).map(([value, label]) => el('option', { value }, label)), el('option', { value: '', hidden: '' }, 'by column'));
    this.#group.addEventListener('input', () => this.#arrange({ group: this.#group.value }));
    this.#sort.addEventListener('input', () => this.#arrange({ sort: this.#sort.value }));
    this.#fold.addEventListener('input', () => this.#arrange({ fold: this.#fold.checked }));
    for (const head of this.#heads) head.addEventListener('click', () => this.#arrange({ sort: nextSort(rows.arrangement.sort, head.dataset.sort ?? '') }));
  }

  /** @param {Arrangement} arrangement */
  set(arrangement) {
    const { filter, ...rest } = arrangement;
    this.#arrange(rest);
    this.#filter.set(filter);
  }

  get filter() {
    return this.#rows.arrangement.filter;
  }

  /** @param {string} text */
  narrow(text) {
    this.#filter.set(text);
  }

  /** @param {Partial<Arrangement>} change */
  #arrange(change) {
    this.#rows.arrange(change);
    const { group, sort, fold } = this.#rows.arrangement;
    this.#group.value = group;
    this.#sort.value = Object.hasOwn(SORTS, sort) ? sort : '';
    this.#fold.checked = fold;
    const { column, down } = orderOf(sort);
    for (const head of this.#heads) {
      const state = head.dataset.sort !== column ? 'none' : down ? 'descending' : 'ascending';
      head.closest('th')?.setAttribute('aria-sort', state);
    }
    this.#changed();
  }
}
