// Events that belong to no attempt, in a place of their own below the lanes.

import { byId, el, linkTo, setText } from './dom.js';
import { strayLine } from './facts.js';
import { count, plural, visible } from './format.js';

/** @typedef {import('./state.js').TraceState} TraceState */

/** @param {ReadonlyMap<string, number>} strayed */
export function strayWords(strayed) {
  const words = [...strayed].map(([event, number]) => {
    if (event === 'accept.retransmit') return `${plural(number, 'SYN-ACK')} sent again by listeners here`;
    if (event === 'skb.drop') return `${plural(number, 'dropped packet')} of no known attempt`;
    return `${count(number)} × ${visible(event)}`;
  });
  return words.join(', ');
}

export class Strays {
  #element = byId('strays');
  #summary = /** @type {HTMLElement} */ (this.#element.querySelector('summary'));
  #list = /** @type {HTMLElement} */ (this.#element.querySelector('ul'));
  #links;
  /** @type {import('../../types/wire').TraceEvent | undefined} */
  #drawn;

  /** @param {import('./dom.js').Links} links */
  constructor(links) {
    this.#links = links;
    this.#element.addEventListener('toggle', () => { this.#drawn = undefined; });
  }

  /** @param {TraceState} state */
  draw({ strays, strayed }) {
    this.#element.hidden = strays.length === 0;
    const newest = strays.at(-1);
    if (newest === this.#drawn) return;
    this.#drawn = newest;
    setText(this.#summary, strayWords(strayed));
    if (this.#element.hasAttribute('open')) this.#list.replaceChildren(...strays.toReversed().map((event) => this.#item(event)));
  }

  /** @param {import('../../types/wire').TraceEvent} event */
  #item(event) {
    const { time, what, where, why, attempt } = strayLine(event);
    const item = el('li', {}, el('span', { class: 'hint' }, time), el('b', {}, what), el('span', {}, where), el('span', {}, why));
    item.append(...linkTo(this.#links, attempt));
    return item;
  }
}
