// Traces there are besides the one that is watched: past ones, imported ones; and files in both directions.

import { Refused } from './api.js';
import { byId, el, kindById, setText } from './dom.js';
import { count, dateTime, millis, visible } from './format.js';

/** @typedef {import('../../types/wire').Trace} Trace */

/** How a trace stands, in a word or two. @param {Trace} trace */
export function standing({ state, end_reason: reason }) {
  return reason === 'imported' || reason === 'interrupted' ? reason : state;
}

/** What can be exported. @type {[format: string, ending: string, label: string][]} */
const FORMATS = [['ndjson', 'ndjson', 'NDJSON, every event'], ['csv', 'csv', 'CSV, a row an attempt'], ['chrome-trace', 'json', 'Chrome trace, for Perfetto']];

export class Past {
  #list = byId('past-rows');
  /** By trace. @type {Map<string, HTMLTableRowElement>} */
  #rows = new Map();
  #file = kindById('import-file', HTMLInputElement);
  #said = byId('import-said');
  #api;
  #open;
  #failed;
  #drawn = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {() => import('./api.js').Api | null} api @param {(trace: string) => void} open
   * @param {(error: unknown) => boolean} failed whether the page dealt with the error itself
   */
  constructor(api, open, failed) {
    this.#api = api;
    this.#open = open;
    this.#failed = failed;
    byId('import').addEventListener('click', () => this.#file.click());
    this.#file.addEventListener('change', () => this.#import(this.#file.files));
    this.#listenDrops();
  }

  /** @param {readonly Trace[]} traces newest first */
  draw(traces) {
    const drawn = JSON.stringify(traces.map(({ id, name, state, counters }) => [id, name, state, counters.delivered, counters.lost]));
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    byId('past-none').hidden = traces.length > 0;
    // Rows stay the same elements while their trace does: what is focused and how far was scrolled survive.
    const before = this.#rows;
    this.#rows = new Map(traces.map((trace) => [trace.id, before.get(trace.id) ?? this.#row(trace.id)]));
    for (const [id, row] of before) if (!this.#rows.has(id)) row.remove();
    traces.forEach((trace, index) => this.#place(trace, index));
  }

  /** Fills a trace's row, and moves it only if it stands elsewhere. @param {Trace} trace @param {number} index */
  #place(trace, index) {
    const row = /** @type {HTMLTableRowElement} */ (this.#rows.get(trace.id));
    const { ringbuf, queue, history = 0 } = trace.counters.lost;
    const lost = ringbuf + queue + history;
    const [head, ...cells] = row.children;
    setText(/** @type {Element} */ (head.firstElementChild), visible(trace.name || trace.id));
    const words = [dateTime(millis(trace.created_unix_nano)).slice(0, -4), standing(trace), count(trace.counters.delivered), lost > 0 ? count(lost) : ''];
    words.forEach((text, cell) => setText(cells[cell], text));
    if (this.#list.children[index] !== row) this.#list.insertBefore(row, this.#list.children[index] ?? null);
  }

  /** @param {string} id */
  #row(id) {
    const name = el('button', { type: 'button', class: 'link' });
    name.addEventListener('click', () => this.#open(id));
    const cells = ['', '', 'number', 'number'].map((kind) => el('td', { class: kind }));
    return el('tr', {}, el('th', { scope: 'row' }, name), ...cells);
  }

  #listenDrops() {
    const drop = byId('drop');
    addEventListener('dragenter', (event) => { drop.hidden = !event.dataTransfer?.types.includes('Files'); });
    // Only what leaves the window has nowhere to go.
    addEventListener('dragleave', (event) => { if (event.relatedTarget === null) drop.hidden = true; });
    addEventListener('dragover', (event) => event.preventDefault());
    addEventListener('drop', (event) => {
      event.preventDefault();
      drop.hidden = true;
      this.#import(event.dataTransfer?.files ?? null);
    });
  }

  /** @param {FileList | null} files */
  async #import(files) {
    const file = files?.[0];
    const api = this.#api();
    if (!file || !api) return;
    this.#say(`Reading ${visible(file.name)}…`);
    try {
      const { id } = await api.import(file, file.name.replace(/\.\w+$/, '').slice(0, 100));
      this.#say('');
      this.#open(id);
    } catch (error) {
      if (this.#failed(error)) return;
      const words = error instanceof Refused ? [error.message, error.problem.remedy ?? ''] : ['The server does not answer.'];
      this.#say(`${visible(file.name)} was not imported: ${words.map(visible).join('; ')}`, true);
    } finally {
      this.#file.value = '';
    }
  }

  /** Over whatever is shown. @param {string} text @param {boolean} [passes] by itself */
  #say(text, passes = false) {
    clearTimeout(this.#timer);
    this.#said.hidden = text === '';
    setText(this.#said, text);
    if (passes) this.#timer = setTimeout(() => this.#say(''), 20_000);
  }
}

/**
 * Offers the trace that is watched as a file. A link could not show the token, so the file is fetched first.
 * @param {() => import('./api.js').Api | null} api @param {() => string | null} trace
 */
export function offerExport(api, trace) {
  const menu = byId('export-menu');
  const said = byId('export-said');
  menu.append(...FORMATS.map(([format, ending, label]) => {
    const item = el('button', { type: 'button' }, label);
    item.addEventListener('click', async () => {
      const id = trace();
      if (!id) return;
      setText(said, 'fetching…');
      try {
        const file = await /** @type {import('./api.js').Api} */ (api()).export(id, format);
        const link = el('a', { href: URL.createObjectURL(file), download: `synscope-${id}.${ending}` });
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
        setText(said, '');
        menu.hidePopover();
      } catch (error) {
        setText(said, `not exported: ${visible(String(error))}`);
      }
    });
    return item;
  }), said);
  const button = byId('export');
  menu.addEventListener('beforetoggle', () => {
    const { right, bottom } = button.getBoundingClientRect();
    menu.style.inset = `${bottom + 4}px ${innerWidth - right}px auto auto`;
  });
}
