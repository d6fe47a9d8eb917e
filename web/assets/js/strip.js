// The strip above the lanes: all of the trace at once, with the stretch that is looked at. Dragging on it
// chooses another.

import { OUTCOME_KEYS } from './causes.js';
import { fitCanvas } from './dom.js';
import { countBars } from './overview.js';
import { TICK_SPACING, hatch, timeLabels } from './paint.js';
import { ticks, toPixel, toTime } from './scale.js';

/**
 * @typedef {import('./state.js').TraceState} TraceState
 * @typedef {import('./scale.js').Domain} Domain
 */

/** Pixels of a bar, at least. */
const BAR = 4;
/** Pixels below the bars, for the times. */
const AXIS = 15;
const SHORTEST = 10_000;
/** So many attempts are counted anew in each ms that passes. */
const PACE = 400;
/** A drag shorter than this, in pixels, is a click: it moves the window instead of making a new one. */
const SLACK = 4;

export class Strip {
  #canvas;
  #view;
  #theme;
  /** @type {Domain} */
  #range = { from: 0, to: 1 };
  /** @type {import('./overview.js').Bars | null} */
  #bars = null;
  #counted = '';
  #countedAt = -Infinity;
  #width = 1;
  /** Where a drag began. @type {number | null} */
  #pressed = null;

  /** @param {HTMLCanvasElement} canvas @param {import('./view.js').View} view @param {() => import('./theme.js').Theme} theme */
  constructor(canvas, view, theme) {
    this.#canvas = canvas;
    this.#view = view;
    this.#theme = theme;
    canvas.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      this.#pressed = event.offsetX;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener('pointermove', (event) => this.#drag(event.offsetX));
    canvas.addEventListener('pointerup', (event) => this.#release(event.offsetX));
    canvas.addEventListener('pointercancel', () => { this.#pressed = null; });
  }

  /** @param {number} x */
  #time(x) {
    return toTime(this.#range, this.#width, Math.max(0, Math.min(this.#width, x)));
  }

  /** @param {number} x */
  #drag(x) {
    if (this.#pressed === null || Math.abs(x - this.#pressed) <= SLACK) return;
    const [from, to] = [this.#time(this.#pressed), this.#time(x)].sort((a, b) => a - b);
    this.#view.set({ from, to }, false);
  }

  /** @param {number} x */
  #release(x) {
    if (this.#pressed !== null && Math.abs(x - this.#pressed) <= SLACK) this.#view.centre(this.#time(x));
    this.#pressed = null;
  }

  /**
   * Returns after how many ms there is more to count, or null.
   * @param {TraceState} state @param {number} now @param {number} clock ms, of any beginning
   */
  draw(state, now, clock) {
    const ctx = this.#canvas.getContext('2d');
    if (!ctx || this.#canvas.clientHeight === 0) return null;
    const { width, height } = fitCanvas(this.#canvas, ctx);
    this.#width = width;
    const { attempts, begin } = state;
    const from = Math.min(Number.isFinite(begin) ? begin : now, attempts.earliest, now);
    this.#range = { from, to: Math.max(now, from + SHORTEST) };
    const due = this.#count(state, clock);
    ctx.clearRect(0, 0, width, height);
    const bottom = height - AXIS;
    for (const loss of state.losses) hatch(ctx, this.#pixel(loss.from), Math.max(this.#pixel(loss.to), this.#pixel(loss.from) + 3), 0, bottom, this.#theme().loss);
    this.#drawBars(ctx, bottom);
    this.#drawWindow(ctx, bottom);
    this.#drawAxis(ctx, bottom);
    return due;
  }

  /** @param {number} time */
  #pixel(time) {
    return toPixel(this.#range, this.#width, time);
  }

  /** @param {TraceState} state @param {number} clock */
  #count({ attempts }, clock) {
    const bars = Math.max(1, Math.floor(this.#width / BAR));
    const due = `${attempts.version}/${bars}/${Math.floor(Math.log2(this.#range.to - this.#range.from) * 8)}/${this.#range.from}`;
    const grown = this.#bars !== null && this.#range.to > this.#bars.from + this.#bars.width * this.#bars.count;
    if (due === this.#counted && !grown) return null;
    const wait = attempts.size / PACE - (clock - this.#countedAt);
    if (wait > 0) return wait;
    this.#counted = due;
    this.#countedAt = clock;
    this.#bars = countBars(attempts, this.#range, bars);
    return null;
  }

  /** @param {CanvasRenderingContext2D} ctx @param {number} height */
  #drawBars(ctx, height) {
    const bars = this.#bars;
    if (!bars || bars.highest === 0) return;
    const { outcomes } = this.#theme();
    const wide = Math.max(1.5, (bars.width / (this.#range.to - this.#range.from)) * this.#width - 1);
    for (let bar = 0; bar < bars.count; bar += 1) {
      const left = this.#pixel(bars.from + bar * bars.width);
      let bottom = height;
      // Failures stand at the bottom: what is healthy or pending comes first among the outcomes.
      for (let kind = OUTCOME_KEYS.length - 1; kind >= 0; kind -= 1) {
        const number = bars.numbers[bar * OUTCOME_KEYS.length + kind];
        if (number === 0) continue;
        const tall = Math.max(1.5, (number / bars.highest) * (height - 4));
        ctx.fillStyle = outcomes[OUTCOME_KEYS[kind]];
        ctx.fillRect(left, bottom - tall, wide, tall);
        bottom -= tall;
      }
    }
  }

  /** @param {CanvasRenderingContext2D} ctx @param {number} height */
  #drawWindow(ctx, height) {
    const { accent, shade } = this.#theme();
    const left = Math.max(0, Math.min(this.#width - 2, this.#pixel(this.#view.domain.from)));
    const right = Math.max(left + 2, Math.min(this.#width, this.#pixel(this.#view.domain.to)));
    ctx.fillStyle = shade;
    ctx.fillRect(0, 0, left, height);
    ctx.fillRect(right, 0, this.#width - right, height);
    ctx.strokeStyle = accent;
    ctx.lineWidth = 1;
    ctx.strokeRect(left + 0.5, 0.5, right - left - 1, height - 1);
  }

  /** @param {CanvasRenderingContext2D} ctx @param {number} top */
  #drawAxis(ctx, top) {
    const theme = this.#theme();
    const [domain, width] = [this.#range, this.#width];
    const grid = ticks(domain, width, TICK_SPACING);
    ctx.fillStyle = theme.line;
    ctx.fillRect(0, top, width, 1);
    for (const time of grid.times) ctx.fillRect(Math.round(this.#pixel(time)), top, 1, 5);
    timeLabels(ctx, { theme, domain, width, grid, middle: top + AXIS / 2 });
  }
}
