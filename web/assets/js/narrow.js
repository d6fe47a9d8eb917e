// "Only this" and "not this": a menu that narrows the filter by what an attempt has.

import { byId, el } from './dom.js';
import { narrowed, termsOf } from './filter.js';
import { visible } from './format.js';
import { isHead } from './rows.js';

/** What a cell of the table, or a group, shows. @type {Record<string, string[]>} */
const SHOWN = {
  outcome: ['cause', 'outcome'], cause: ['cause', 'outcome'], peer: ['peer', 'port'], process: ['comm', 'pid'],
  netns: ['netns'], container: ['container', 'pod', 'unit'],
};

export class NarrowMenu {
  #menu = byId('narrow');
  #filter;
  #apply;

  /** @param {() => string} filter what applies now @param {(filter: string) => void} apply */
  constructor(filter, apply) {
    this.#filter = filter;
    this.#apply = apply;
    this.#menu.addEventListener('keydown', (event) => this.#key(event));
  }

  /**
   * @param {import('./rows.js').Row} row @param {string} shown what was pointed at, or nothing
   * @param {{ x: number, y: number }} at in pixels of the window
   */
  open(row, shown, at) {
    const terms = termsOf(isHead(row) ? row.attempts[0] : row);
    const wanted = isHead(row) && row.kind === 'group' ? row.key.slice(0, row.key.indexOf(':')) : shown;
    const asked = (SHOWN[wanted] ?? Object.keys(terms)).flatMap((name) => terms[name] ?? []);
    if (asked.length === 0) return;
    this.#menu.replaceChildren(...asked.flatMap((term) => [this.#item('Only', term, false), this.#item('Not', term, true)]));
    this.#menu.showPopover();
    const { offsetWidth, offsetHeight } = this.#menu;
    this.#menu.style.left = `${Math.max(4, Math.min(at.x, innerWidth - offsetWidth - 4))}px`;
    this.#menu.style.top = `${Math.max(4, Math.min(at.y, innerHeight - offsetHeight - 4))}px`;
    this.#focus(0);
  }

  /** @param {string} word @param {string} term @param {boolean} not */
  #item(word, term, not) {
    const item = el('button', { type: 'button', role: 'menuitem', tabindex: '-1' }, `${word} `, el('code', {}, visible(term)));
    item.addEventListener('click', () => {
      this.#menu.hidePopover();
      this.#apply(narrowed(this.#filter(), term, not));
    });
    return item;
  }

  /** @param {number} index */
  #focus(index) {
    const items = this.#menu.children;
    /** @type {HTMLElement} */ (items[(index + items.length) % items.length]).focus();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const at = [...this.#menu.children].findIndex((item) => item === document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    event.stopPropagation();
    if (to === undefined) return;
    event.preventDefault();
    this.#focus(to);
  }
}
