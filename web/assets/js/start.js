// The start panel: a form, the server's judgement of it shown at the field that it names.

import { Refused } from './api.js';
import { byId, el, kindById, setText } from './dom.js';
import { fieldNamed, fieldProblem, traceRequest } from './request.js';

/** @typedef {HTMLInputElement | HTMLSelectElement} Field */

export class StartPanel {
  #form = kindById('start-form', HTMLFormElement);
  #button = kindById('start', HTMLButtonElement);
  #problem = byId('start-problem');
  #progress = byId('start-progress');
  #start;
  #failed;

  /**
   * @param {(request: object) => Promise<void>} start
   * @param {(error: unknown) => boolean} failed whether the page dealt with the error itself
   * @param {() => void} cancel
   */
  constructor(start, failed, cancel) {
    this.#start = start;
    this.#failed = failed;
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.#form.addEventListener('input', (event) => {
      if (event.target instanceof HTMLElement) clearField(event.target);
    });
    this.#form.addEventListener('change', (event) => {
      const field = this.#fields.find((candidate) => candidate === event.target);
      const problem = field && fieldProblem(field.name, field.value);
      if (field && problem) markField(field, [problem], false);
    });
    for (const preset of this.#form.querySelectorAll('[data-preset]')) {
      preset.addEventListener('click', () => this.#preset(/** @type {HTMLElement} */ (preset).dataset.preset ?? ''));
    }
    byId('start-cancel').addEventListener('click', cancel);
  }

  /** @param {string} name of the field that the preset asks for */
  #preset(name) {
    this.#form.reset();
    this.#clear();
    (this.#fields.find((field) => field.name === name) ?? this.#button).focus();
  }

  focus() {
    this.#button.focus({ preventScroll: true });
  }

  /** @returns {Field[]} */
  get #fields() {
    return [...this.#form.elements].filter((element) => element instanceof HTMLInputElement || element instanceof HTMLSelectElement);
  }

  async #submit() {
    this.#clear();
    this.#button.disabled = true;
    setText(this.#progress, 'Attaching the probes…');
    try {
      const typed = new Map(this.#fields.map((field) =>
        [field.name, field instanceof HTMLInputElement && field.type === 'checkbox' ? field.checked : field.value]));
      await this.#start(traceRequest(typed));
    } catch (error) {
      if (!this.#failed(error)) this.#show(error);
    } finally {
      this.#button.disabled = false;
      setText(this.#progress, '');
    }
  }

  #clear() {
    this.#problem.hidden = true;
    this.#fields.forEach(clearField);
  }

  /** @param {unknown} error */
  #show(error) {
    const problem = error instanceof Refused ? error.problem : { status: 0, title: String(error) };
    const words = [problem.detail ?? problem.title ?? `The server answered ${problem.status}.`];
    if (problem.remedy) words.push(problem.remedy);
    const name = fieldNamed(problem.field, this.#fields.map((field) => field.name));
    const field = this.#fields.find((candidate) => candidate.name === name);
    if (!field) {
      this.#problem.replaceChildren(...words.map((text) => el('span', {}, text)));
      this.#problem.hidden = false;
      this.#problem.scrollIntoView({ block: 'nearest' });
      return;
    }
    markField(field, words, true);
  }
}

/** @param {Field} field @param {string[]} words @param {boolean} go moves the focus there */
function markField(field, words, go) {
  clearField(field);
  const id = `problem-${field.name.replace('.', '-')}`;
  field.setAttribute('aria-invalid', 'true');
  field.setAttribute('aria-describedby', id);
  field.closest('label')?.append(el('span', { class: 'problem', id, role: 'alert' }, ...words.map((text) => el('span', {}, text))));
  const folded = field.closest('details');
  if (folded) folded.open = true;
  if (go) field.focus();
}

/** @param {HTMLElement} field */
function clearField(field) {
  field.removeAttribute('aria-invalid');
  field.removeAttribute('aria-describedby');
  field.closest('label')?.querySelector('.problem')?.remove();
}
