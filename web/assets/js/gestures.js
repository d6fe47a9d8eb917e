// Pointer, touch and wheel on an element, as pans, zooms, hovers and taps.

/**
 * @typedef {object} Handlers coordinates are relative to the element
 * @property {(dx: number, dy: number) => void} pan
 * @property {(factor: number, x: number) => void} zoom
 * @property {(x: number, y: number) => void} hover
 * @property {() => void} leave
 * @property {(x: number, y: number) => void} tap
 * @property {(from: number, to: number) => void} select
 * @property {(y: number, shift: boolean) => boolean} selects whether a drag from there selects rather than pans
 * @property {() => boolean} enabled
 */

/** A pointer that moved less than this, in pixels, tapped. */
const SLACK = 4;
const WHEEL_ZOOM = 0.0016;
/** Pixels of a line, for wheels that count in lines. */
const LINE = 16;

/** @param {HTMLElement} element @param {Handlers} handlers */
export function listenPointers(element, handlers) {
  new Pointers(element, handlers);
}

/** @param {HTMLElement} element @param {Handlers} handlers */
export function listenWheel(element, handlers) {
  element.addEventListener('wheel', (event) => wheel(element, event, handlers), { passive: false });
}

/** @param {HTMLElement} element @param {WheelEvent} event @param {Handlers} handlers */
function wheel(element, event, handlers) {
  event.preventDefault();
  const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE : 1;
  const dx = event.deltaX * unit;
  const dy = event.deltaY * unit;
  if (event.shiftKey || Math.abs(dx) > Math.abs(dy)) {
    handlers.pan(-(dx || dy), 0);
    return;
  }
  // A pinch on a trackpad arrives as a wheel with Ctrl, in small steps.
  const strength = event.ctrlKey ? WHEEL_ZOOM * 6 : WHEEL_ZOOM;
  handlers.zoom(Math.exp(Math.max(-400, Math.min(400, dy)) * strength), local(element, event).x);
}

/** @param {HTMLElement} element @param {MouseEvent} event */
function local(element, event) {
  const box = element.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

class Pointers {
  /** @type {Map<number, { x: number, y: number }>} */
  #down = new Map();
  #moved = 0;
  /** Where a selection began. @type {number | null} */
  #from = null;
  #element;
  #handlers;

  /** @param {HTMLElement} element @param {Handlers} handlers */
  constructor(element, handlers) {
    this.#element = element;
    this.#handlers = handlers;
    element.addEventListener('pointerdown', (event) => this.#press(event));
    element.addEventListener('pointermove', (event) => this.#move(event));
    element.addEventListener('pointerup', (event) => this.#release(event, true));
    element.addEventListener('pointercancel', (event) => this.#release(event, false));
    element.addEventListener('pointerleave', () => handlers.leave());
  }

  /** @param {PointerEvent} event */
  #press(event) {
    if (event.button !== 0 || !this.#handlers.enabled()) return;
    const at = local(this.#element, event);
    if (this.#down.size === 0) this.#moved = 0;
    this.#from = this.#handlers.selects(at.y, event.shiftKey) ? at.x : null;
    this.#down.set(event.pointerId, at);
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const at = local(this.#element, event);
    const before = this.#down.get(event.pointerId);
    if (!before) {
      if (event.pointerType === 'mouse' && this.#handlers.enabled()) this.#handlers.hover(at.x, at.y);
      return;
    }
    this.#moved += Math.abs(at.x - before.x) + Math.abs(at.y - before.y);
    if (this.#moved <= SLACK) return;
    // From here on it is a drag, also when it leaves the element.
    if (!this.#element.hasPointerCapture(event.pointerId)) this.#element.setPointerCapture(event.pointerId);
    this.#handlers.leave();
    this.#element.classList.add('dragging');
    const other = [...this.#down].find(([id]) => id !== event.pointerId)?.[1];
    if (other) this.#pinch(before, at, other);
    else if (this.#from !== null) this.#handlers.select(this.#from, at.x);
    else this.#handlers.pan(at.x - before.x, at.y - before.y);
    this.#down.set(event.pointerId, at);
  }

  /** @param {{ x: number }} before @param {{ x: number }} at @param {{ x: number }} other */
  #pinch(before, at, other) {
    const was = Math.max(10, Math.abs(before.x - other.x));
    const is = Math.max(10, Math.abs(at.x - other.x));
    this.#handlers.zoom(was / is, (at.x + other.x) / 2);
  }

  /** @param {PointerEvent} event @param {boolean} finished */
  #release(event, finished) {
    const at = this.#down.get(event.pointerId);
    if (!at) return;
    this.#down.delete(event.pointerId);
    if (this.#down.size > 0) return;
    this.#element.classList.remove('dragging');
    if (finished && this.#moved <= SLACK) this.#handlers.tap(at.x, at.y);
  }
}
