// One trace being watched: its state, and the stream that feeds it.

import { TraceState } from './state.js';
import { Stream } from './stream.js';

/** @typedef {import('./stream.js').Connection} Connection */

export class Session {
  id;
  state = new TraceState();
  /** @type {Connection} */
  connection = { phase: 'connecting' };
  /** Whether the server is another one than at first. */
  restarted = false;
  #api;
  #changed;
  #stream;

  /**
   * @param {import('./api.js').Api} api @param {string} id
   * @param {() => void} changed after every message and every change of the connection
   */
  constructor(api, id, changed) {
    this.id = id;
    this.#api = api;
    this.#changed = changed;
    this.#stream = new Stream(id, { socket: (trace, after) => api.socket(trace, after), trace: (trace) => api.trace(trace) }, {
      after: () => this.state.seq,
      epoch: () => this.state.epoch,
      restarted: () => { this.restarted = true; },
      message: (message) => {
        this.state.apply(message, Date.now());
        changed();
      },
      connection: (connection) => this.#connected(connection),
    });
  }

  get live() {
    return this.state.ended === null && this.connection.phase !== 'missing';
  }

  /** Whether the picture is of this moment. */
  get fresh() {
    return this.live && (this.connection.phase === 'live' || this.connection.phase === 'connecting');
  }

  /** Where the time axis ends: what happens while nothing is heard is not known. @param {number} local */
  horizon(local) {
    return this.fresh || !this.live ? this.state.horizon(local) : this.state.heard;
  }

  close() {
    this.#stream.close();
  }

  retry() {
    this.#stream.retry();
  }

  /** Stops the trace itself. The stream then delivers what is left, and ends. */
  async stop() {
    this.state.refresh(await this.#api.stop(this.id), Date.now());
    this.#changed();
  }

  /** An armed trace runs once something has matched; its stream does not say so. @param {import('../../types/wire').Trace | undefined} trace */
  saw(trace) {
    if (trace && this.state.trace) this.state.trace.state = trace.state;
  }

  /** @param {Connection} connection */
  #connected(connection) {
    this.connection = connection;
    this.#changed();
    // The stream does not say what the trace is, and its last heartbeat is older than its last event.
    if (connection.phase === 'live' || connection.phase === 'ended') this.#refresh();
  }

  async #refresh() {
    try {
      this.state.refresh(await this.#api.trace(this.id), Date.now());
      this.#changed();
    } catch {
      // The counters of the last heartbeat stay; the connection's state is shown as it is.
    }
  }
}
