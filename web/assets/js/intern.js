// One copy of equal values: most attempts on a host share a few stacks and owners. Pure.

/** Distinct values kept, of processes and of places; about 0.5 kB each. Beyond, sharing starts afresh. */
const LIMIT = 4096;
/** Distinct stacks held, about 2 kB each; attempts whose stack has left say so. */
export const STACK_LIMIT = 20_000;

export class Interner {
  /** @type {Map<string, unknown>} */
  #known = new Map();

  /**
   * @template T
   * @param {string} key the same for equal values only @param {T} value
   * @returns {T} the value first seen under this key
   */
  share(key, value) {
    const known = this.#known.get(key);
    if (known !== undefined) return /** @type {T} */ (known);
    if (this.#known.size >= LIMIT) this.#known.clear();
    this.#known.set(key, value);
    return value;
  }
}

/**
 * @typedef {import('../../types/wire').Frame} Frame
 *
 * @typedef {object} Stack
 * @property {readonly Frame[] | null} frames null once it was forgotten
 * @property {boolean} used since it was last considered for leaving
 */

/** @type {Stack} */
export const NO_STACK = Object.freeze({ frames: Object.freeze(/** @type {Frame[]} */ ([])), used: true });

/** Stacks by what they hold. A program whose addresses differ at each run would fill the memory with them. */
export class Stacks {
  /** @type {Map<string, Stack>} */
  #known = new Map();
  #limit;

  constructor(limit = STACK_LIMIT) {
    this.#limit = limit;
  }

  /** @param {readonly Frame[] | undefined} frames @returns {Stack} */
  share(frames) {
    if (!frames?.length) return NO_STACK;
    let key = '';
    // One address in one file is one frame.
    for (const { address, module } of frames) key += `${address} ${module}\n`;
    const known = this.#known.get(key);
    if (known) {
      known.used = true;
      return known;
    }
    if (this.#known.size >= this.#limit) this.#forget();
    const stack = { frames, used: false };
    this.#known.set(key, stack);
    return stack;
  }

  /** The oldest leaves; one that was used meanwhile gets another round. */
  #forget() {
    for (const [key, stack] of this.#known) {
      this.#known.delete(key);
      if (!stack.used) {
        stack.frames = null;
        return;
      }
      stack.used = false;
      this.#known.set(key, stack);
    }
  }
}
