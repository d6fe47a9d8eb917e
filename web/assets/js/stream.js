// One reader of a trace's WebSocket: connects, resumes after the last event taken, backs off.

import { Refused } from './api.js';

/**
 * @typedef {import('../../types/wire').Message} Message
 *
 * @typedef {{ phase: 'connecting' | 'live' | 'ended' | 'unauthorised' | 'missing' }
 *   | { phase: 'reconnecting', retryAt: number, why: 'dropped' | 'server' }} Connection
 *
 * @typedef {object} Handlers
 * @property {() => number} after sequence number of the last event taken
 * @property {(message: Message) => void} message
 * @property {(connection: Connection) => void} connection
 * @property {() => string | number | null} epoch
 * @property {() => void} restarted the server is another one: its run ended the trace
 *
 * @typedef {object} Source what a stream needs of the API
 * @property {(id: string, after: number) => WebSocket} socket
 * @property {(id: string) => Promise<unknown>} trace
 *
 * @typedef {object} Timers
 * @property {(run: () => void, ms: number) => any} set
 * @property {(timer: any) => void} clear
 * @property {() => number} now
 * @property {() => number} random
 */

const FIRST_DELAY = 400;
const LONGEST_DELAY = 10_000;
/** The server speaks every 5 s; three times that is a dead connection. */
const SILENCE = 15_000;

/** @type {Timers} */
const REAL = {
  set: (run, ms) => setTimeout(run, ms),
  clear: (timer) => clearTimeout(timer),
  now: () => Date.now(),
  random: () => Math.random(),
};

/** @param {number} attempt from 0 @param {number} random from 0 to 1 */
export function backoff(attempt, random) {
  const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** attempt);
  // Half fixed, half random: the pages of one server do not come back all at once.
  return longest / 2 + (longest / 2) * random;
}

export class Stream {
  #id;
  #source;
  #handlers;
  #timers;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {any} */
  #timer = null;
  /** @type {any} */
  #watchdog = null;
  #failures = 0;
  #closed = false;
  #over = false;

  /** @param {string} id @param {Source} source @param {Handlers} handlers @param {Timers} [timers] */
  constructor(id, source, handlers, timers = REAL) {
    this.#id = id;
    this.#source = source;
    this.#handlers = handlers;
    this.#timers = timers;
    handlers.connection({ phase: 'connecting' });
    this.#connect();
  }

  close() {
    this.#closed = true;
    this.#timers.clear(this.#timer);
    this.#leave();
  }

  /** Tries at once instead of waiting for the delay to pass. */
  retry() {
    if (this.#closed || this.#over || this.#socket) return;
    this.#timers.clear(this.#timer);
    this.#connect();
  }

  #connect() {
    const socket = this.#source.socket(this.#id, this.#handlers.after());
    this.#socket = socket;
    this.#watch();
    socket.onmessage = (event) => this.#receive(JSON.parse(event.data));
    socket.onclose = (event) => this.#lost(event.code);
  }

  #leave() {
    this.#timers.clear(this.#watchdog);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onmessage = null;
    socket.onclose = null;
    socket.close();
  }

  /** @param {Message} message */
  #receive(message) {
    this.#watch();
    if (message.type === 'hello') {
      const known = this.#handlers.epoch();
      // A trace keeps its sequence numbers in history, so what was taken stays: history may lack the last of it.
      if (known !== null && known !== message.epoch) this.#handlers.restarted();
      this.#failures = 0;
      this.#handlers.connection({ phase: 'live' });
    }
    this.#over = this.#over || message.type === 'end';
    this.#handlers.message(message);
  }

  #watch() {
    this.#timers.clear(this.#watchdog);
    this.#watchdog = this.#timers.set(() => {
      this.#leave();
      this.#retryLater('dropped');
    }, SILENCE);
  }

  /** @param {number} code */
  #lost(code) {
    this.#leave();
    // `end` is also sent when the server shuts down (1001); the trace ended with it.
    if (this.#over && (code === 1000 || code === 1001)) {
      this.#handlers.connection({ phase: 'ended' });
      return;
    }
    this.#diagnose();
  }

  /** A browser does not tell why a handshake failed; the API does. */
  async #diagnose() {
    /** @type {'dropped' | 'server'} */
    let why = 'dropped';
    try {
      await this.#source.trace(this.#id);
      if (this.#closed) return;
    } catch (error) {
      if (this.#closed) return;
      if (error instanceof Refused) {
        if (error.unauthorised || error.missing) {
          this.#over = true;
          this.#handlers.connection({ phase: error.unauthorised ? 'unauthorised' : 'missing' });
          return;
        }
      } else {
        why = 'server';
      }
    }
    this.#retryLater(why);
  }

  /** @param {'dropped' | 'server'} why */
  #retryLater(why) {
    const delay = backoff(this.#failures, this.#timers.random());
    this.#failures += 1;
    this.#handlers.connection({ phase: 'reconnecting', retryAt: this.#timers.now() + delay, why });
    this.#timer = this.#timers.set(() => this.#connect(), delay);
  }
}
