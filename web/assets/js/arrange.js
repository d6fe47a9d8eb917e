// The controls that say how attempts are arranged.

import { OUTCOME_KEYS } from './causes.js';
import { byId, el, kindById } from './dom.js';
import { FILTER_KEYS } from './filter.js';
import { GROUPS, SORTS } from './rows.js';

/** @typedef {import('./rows.js').Arrangement} Arrangement */

export class ArrangePanel {
  #group = kindById('group', HTMLSelectElement);
  #sort = kindById('sort', HTMLSelectElement);
  #fold = kindById('fold', HTMLInputElement);
  #filter = kindById('filter', HTMLInputElement);
  #rows;
  #changed;

  /** @param {import('./rows.js').Rows} rows @param {() => void} changed */
  constructor(rows, changed) {
    this.#rows = rows;
    this.#changed = changed;
    this.#group.append(...Object.keys(GROUPS).map((name) => el('option', { value: name }, name)));
    this.#sort.append(...SORTS.map((name) => el('option', { value: name }, name === 'told' ? 'as told' : name)));
    const words = [...FILTER_KEYS.map((key) => `${key}:`), ...OUTCOME_KEYS.map((key) => `cause:${key}`)];
    byId('filter-words').append(...words.map((value) => el('option', { value })));
    for (const control of [this.#group, this.#sort, this.#fold, this.#filter]) control.addEventListener('input', () => this.#read());
    this.#filter.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') this.#filter.blur();
    });
  }

  /** @param {Partial<Arrangement>} arrangement */
  set(arrangement) {
    this.#rows.arrange(arrangement);
    const { group, sort, fold, filter } = this.#rows.arrangement;
    this.#group.value = group;
    this.#sort.value = sort;
    this.#fold.checked = fold;
    this.#filter.value = filter;
    this.#changed();
  }

  #read() {
    this.#rows.arrange({ group: this.#group.value, sort: this.#sort.value, fold: this.#fold.checked, filter: this.#filter.value });
    this.#changed();
  }
}
