// The canvas: one lane per attempt, beside the table's rows and always level with them.

import { outcome } from './causes.js';
import { fitCanvas, setText } from './dom.js';
import { eventName } from './facts.js';
import { duration, endpoint, plural, processName, visible } from './format.js';
import { listenPointers, listenWheel } from './gestures.js';
import { paint } from './paint.js';
import { isHead, keyOf } from './rows.js';
import { span, toPixel, toTime } from './scale.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 *
 * @typedef {object} Context what the timeline needs of the page around it
 * @property {import('./view.js').View} view
 * @property {() => import('./state.js').TraceState | null} state
 * @property {() => import('./theme.js').Theme} theme
 * @property {() => boolean} live
 * @property {HTMLElement} list   scrolls; its rows are the lanes
 * @property {import('./rows.js').Rows} rows
 * @property {(row: import('./rows.js').Row) => void} open
 * @property {(row: import('./rows.js').Row, shown: string, at: { x: number, y: number }) => void} narrow
 */

/** Within so many pixels of a tick, the tick is meant. */
const REACH = 5;

export class Timeline {
  #canvas;
  #tooltip;
  #context;
  #width = 0;
  #height = 0;

  /** @param {HTMLCanvasElement} canvas @param {HTMLElement} tooltip @param {Context} context */
  constructor(canvas, tooltip, context) {
    this.#canvas = canvas;
    this.#tooltip = tooltip;
    this.#context = context;
    listenWheel(canvas, this.#listen(canvas, () => true, true));
    canvas.addEventListener('contextmenu', (event) => {
      const row = this.#rowAt(event.offsetY);
      if (!row) return;
      event.preventDefault();
      context.narrow(row, '', { x: event.clientX, y: event.clientY });
    });
    // On narrow screens the rows lie over the canvas: there the browser scrolls, and we pan and zoom.
    this.#listen(context.list, () => context.theme().barTop > context.theme().bar, false);
  }

  /** Time shown by one pixel: how often a moving picture is worth a new frame. */
  get msPerPixel() {
    return span(this.#context.view.domain) / Math.max(1, this.#width);
  }

  /** @param {number} factor */
  zoomCentre(factor) {
    const { view } = this.#context;
    view.zoom(factor, (view.domain.from + view.domain.to) / 2);
  }

  /** @param {number} now */
  draw(now) {
    const state = this.#context.state();
    const ctx = this.#canvas.getContext('2d');
    if (!state || !ctx) return;
    ({ width: this.#width, height: this.#height } = fitCanvas(this.#canvas, ctx));
    const { view, theme, live } = this.#context;
    paint(ctx, {
      width: this.#width,
      height: this.#height,
      domain: view.domain,
      theme: theme(),
      lanes: this.#lanes(),
      losses: state.losses,
      selected: view.selected,
      hovered: view.hovered,
      band: view.band,
      now,
      live: live(),
      begin: state.begin,
    });
  }

  #lanes() {
    const { list, rows } = this.#context;
    const { row, ruler } = this.#context.theme();
    const scrolled = list.scrollTop;
    const lanes = [];
    const last = Math.min(rows.size, Math.ceil((scrolled + this.#height - ruler) / row));
    for (let index = Math.floor(scrolled / row); index < last; index += 1) {
      lanes.push({ row: rows.at(index), y: ruler + index * row - scrolled });
    }
    return lanes;
  }

  /** @param {HTMLElement} element @param {() => boolean} enabled @param {boolean} vertical */
  #listen(element, enabled, vertical) {
    const { view, list } = this.#context;
    // Coordinates on the list start below the ruler.
    const top = () => (vertical ? 0 : this.#context.theme().ruler);
    /** @type {import('./gestures.js').Handlers} */
    const handlers = {
      enabled,
      pan: (dx, dy) => {
        view.pan(-dx * this.msPerPixel);
        if (vertical) list.scrollTop -= dy;
      },
      select: (from, to) => {
        const [first, last] = [from, to].sort((a, b) => a - b).map((x) => toTime(view.domain, this.#width, x));
        view.choose({ from: first, to: last });
      },
      selects: (y, shift) => vertical && (shift || y < this.#context.theme().ruler),
      zoom: (factor, x) => view.zoom(factor, toTime(view.domain, this.#width, x)),
      hover: (x, y) => this.#hover(x, y + top()),
      leave: () => this.#leave(),
      tap: (_, y) => {
        const row = this.#rowAt(y + top());
        // A tap on a row is the row's own click.
        if (row && vertical) this.#context.open(row);
      },
    };
    listenPointers(element, handlers);
    return handlers;
  }

  /** @param {number} y */
  #rowAt(y) {
    const { row, ruler } = this.#context.theme();
    return y < ruler ? undefined : this.#context.rows.at(Math.floor((y - ruler + this.#context.list.scrollTop) / row));
  }

  #leave() {
    this.#tooltip.hidden = true;
    this.#context.view.hover(null);
  }

  /** @param {number} x @param {number} y */
  #hover(x, y) {
    const row = this.#rowAt(y);
    if (!row) {
      this.#leave();
      return;
    }
    this.#context.view.hover(keyOf(row));
    setText(this.#tooltip, isHead(row) ? row.label : this.#describe(row, x));
    this.#tooltip.hidden = false;
    const stage = /** @type {HTMLElement} */ (this.#tooltip.offsetParent);
    const inStage = this.#canvas.getBoundingClientRect().left - stage.getBoundingClientRect().left + x;
    const left = Math.min(inStage + 14, stage.clientWidth - this.#tooltip.offsetWidth - 4);
    const below = y + 18 + this.#tooltip.offsetHeight < stage.clientHeight;
    const above = y - 12 - this.#tooltip.offsetHeight;
    this.#tooltip.style.transform = `translate(${Math.max(4, left)}px, ${below ? y + 18 : above}px)`;
  }

  /** @param {Attempt} attempt @param {number} x */
  #describe(attempt, x) {
    const now = this.#context.state()?.now(Date.now()) ?? 0;
    const pixel = (/** @type {number} */ time) => toPixel(this.#context.view.domain, this.#width, time);
    const mark = attempt.marks.find(({ event, time }) => /challenge|drop/.test(event) && Math.abs(pixel(time) - x) <= REACH);
    if (mark) {
      const why = mark.reason ? `: ${visible(mark.reason)}` : '';
      return `${describeHead(attempt)}\n${eventName(mark.event)}${why}, ${duration(mark.time - attempt.start)} after the first SYN`;
    }
    const index = attempt.retransmits.findIndex((time) => Math.abs(pixel(time) - x) <= REACH);
    const head = describeHead(attempt);
    if (index >= 0) {
      const time = attempt.retransmits[index];
      const before = index === 0 ? attempt.start : attempt.retransmits[index - 1];
      return `${head}\nSYN retransmit ${index + 1}, ${duration(time - attempt.start)} after the first`
        + (index === 0 ? '' : `\n${duration(time - before)} after the one before`);
    }
    const took = duration((attempt.end ?? now) - attempt.start);
    return `${head}\n${outcome(attempt).label}, ${took}, ${plural(attempt.synRetransmits, 'retransmit')}`;
  }
}

/** @param {Attempt} attempt */
function describeHead(attempt) {
  return `${processName(attempt.process)} → ${endpoint(attempt.network.peer)}`;
}
