// What is looked at: the stretch of time, the attempt selected, the one under the pointer. Pure.

import { fit, pan, span, zoom } from './scale.js';

/** @typedef {import('./scale.js').Domain} Domain */

const FIRST_SPAN = 30_000;
const LONGEST_FIRST_SPAN = 10 * 60_000;
/** Room to the right of now, as a share of the width, for the glyph at the end of the newest bar. */
const AHEAD = 0.06;
/** Room to the left of the trace's beginning. */
const BEFORE = 0.02;

export class View {
  /** @type {Domain} */
  domain = { from: 0, to: FIRST_SPAN };
  /** The right edge moves with the time. */
  follow = true;
  /** Key of the selected row (an attempt's is its ordinal), and of the one under the pointer. @type {string | number | null} */
  selected = null;
  /** @type {string | number | null} */
  hovered = null;
  /** A stretch chosen by dragging. @type {Domain | null} */
  band = null;
  #placed = false;
  #changed;

  /** @param {() => void} changed */
  constructor(changed) {
    this.#changed = changed;
  }

  /** Starts afresh, for another trace. */
  reset() {
    this.domain = { from: 0, to: FIRST_SPAN };
    this.follow = true;
    this.selected = null;
    this.hovered = null;
    this.band = null;
    this.#placed = false;
    this.#changed();
  }

  /**
   * Before anything was moved by hand, shows what there is.
   * @param {number} earliest start of the oldest attempt, or Infinity @param {number} now @param {boolean} live
   */
  place(earliest, now, live) {
    if (this.#placed || !Number.isFinite(earliest)) return;
    this.#placed = true;
    if (!live) {
      this.set(fit(earliest, now), false);
      return;
    }
    const length = Math.min(LONGEST_FIRST_SPAN, Math.max(FIRST_SPAN, (now - earliest) * 1.2));
    this.domain = { from: now - length, to: now };
  }

  /**
   * Called for each frame. A young trace fills the width from the left before anything has to move.
   * @param {number} now @param {number} begin when the trace began
   */
  advance(now, begin) {
    // Before it is known when a trace began, as after a restart of its server, the picture stays.
    if (!this.follow || (begin === -Infinity && this.#placed)) return;
    const length = span(this.domain);
    const to = Math.max(now + length * AHEAD, begin + length * (1 - BEFORE));
    this.domain = { from: to - length, to };
  }

  /** @param {Domain} domain @param {boolean} [follow] */
  set(domain, follow = this.follow) {
    this.#placed = true;
    this.domain = domain;
    this.follow = follow;
    this.#changed();
  }

  /** @param {number} factor below 1 zooms in @param {number} about the time that stays in place */
  zoom(factor, about) {
    // While following, now is what stays in place: zooming is no reason to stop.
    const fixed = this.follow ? this.domain.to : about;
    this.set(zoom(this.domain, factor, fixed));
  }

  /** @param {number} ms */
  pan(ms) {
    if (ms !== 0) this.set(pan(this.domain, ms), false);
  }

  /** @param {number} time to have in the middle */
  centre(time) {
    this.pan(time - (this.domain.from + this.domain.to) / 2);
  }

  /** @param {number} from @param {number} to */
  fit(from, to) {
    this.set(fit(from, to, 0.08), false);
  }

  /** Brings a stretch into view without changing the zoom. @param {number} from @param {number} to */
  reveal(from, to) {
    if (this.follow || (to >= this.domain.from && from <= this.domain.to)) return;
    this.centre((from + to) / 2);
  }

  /** @param {Domain | null} band */
  choose(band) {
    this.band = band;
    if (band) this.follow = false;
    this.#changed();
  }

  /** @param {boolean} follow */
  setFollow(follow) {
    this.follow = follow;
    this.#changed();
  }

  /** @param {string | number | null} key */
  select(key) {
    if (this.selected === key) return;
    this.selected = key;
    this.#changed();
  }

  /** @param {string | number | null} key */
  hover(key) {
    if (this.hovered === key) return;
    this.hovered = key;
    this.#changed();
  }
}
