// Which traces there are, and which one is watched.

import { el, kindById, setText } from './dom.js';
import { clock, millis, visible } from './format.js';
import { standing } from './past.js';

/** @typedef {import('../../types/wire').Trace} Trace */

export class Switcher {
  #select = kindById('switcher', HTMLSelectElement);

  /** @param {(id: string) => void} choose */
  constructor(choose) {
    this.#select.addEventListener('change', () => choose(this.#select.value));
  }

  /** @param {readonly Trace[]} traces newest first @param {string | null} current */
  draw(traces, current) {
    const ids = new Set(traces.map((trace) => trace.id));
    const label = /** @type {HTMLElement} */ (this.#select.parentElement);
    label.hidden = traces.length === 0 && current === null;
    const options = traces.map((trace) => ({ id: trace.id, text: titleOf(trace) }));
    if (current !== null && !ids.has(current)) options.unshift({ id: current, text: `${visible(current)} (discarded)` });
    if (current === null) options.unshift({ id: '', text: 'choose a trace' });
    while (this.#select.options.length > options.length) this.#select.options[this.#select.options.length - 1].remove();
    while (this.#select.options.length < options.length) this.#select.append(el('option'));
    options.forEach(({ id, text }, index) => {
      const option = this.#select.options[index];
      if (option.value !== id) option.value = id;
      setText(option, text);
      option.disabled = id === '';
    });
    if (this.#select.value !== (current ?? '')) this.#select.value = current ?? '';
  }
}

/** @param {Trace} trace */
function titleOf(trace) {
  const name = trace.name ? visible(trace.name) : visible(trace.id);
  const began = clock(millis(trace.created_unix_nano), 0);
  return `${name} · ${began}${trace.state === 'running' ? '' : ` · ${standing(trace)}`}`;
}
