// Who connects to where: what attempts of one caller to one peer have in common. Pure.

/**
 * @typedef {import('../../types/wire').TraceEvent} TraceEvent
 *
 * @typedef {object} Flow
 * @property {string} key
 * @property {Map<string, import('./fold.js').Run>} runs that go on, by outcome
 * @property {Record<string, string>} labels by the names of GROUPS, once they were needed
 */

/** Forgetting splits a storm in two, and keeps a scan of all ports from filling the memory. */
const LIMIT = 20_000;

export class Flows {
  /** @type {Map<string, Flow>} */
  #known = new Map();

  /**
   * The flow that an attempt belongs to, as far as it is known by now.
   * @param {Pick<import('./attempts.js').Attempt, 'network' | 'process' | 'around'>} attempt @returns {Flow}
   */
  of({ network: { peer }, process, around: { container, k8s, systemd } }) {
    const where = container?.id ?? k8s?.pod.uid ?? systemd?.unit ?? process?.cgroup;
    const key = `${peer?.address} ${peer?.port} ${process?.netns} ${where}\n${process ? (process.comm ?? process.pid) : ''}`;
    const known = this.#known.get(key);
    if (known) return known;
    if (this.#known.size >= LIMIT) this.#known.clear();
    const flow = { key, runs: new Map(), labels: {} };
    this.#known.set(key, flow);
    return flow;
  }
}
