// One copy of equal values: most attempts on a host share a few stacks and owners. Pure.

/** Beyond this many values sharing starts afresh; what is already shared stays shared. */
const LIMIT = 4096;

export class Interner {
  /** @type {Map<string, unknown>} */
  #known = new Map();

  /**
   * @template T
   * @param {T} value of plain JSON
   * @returns {T} an equal value, the same one for equal arguments
   */
  share(value) {
    const key = JSON.stringify(value);
    const known = this.#known.get(key);
    if (known !== undefined) return /** @type {T} */ (known);
    if (this.#known.size >= LIMIT) this.#known.clear();
    this.#known.set(key, value);
    return value;
  }
}
