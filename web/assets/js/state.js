// What is known of one trace, folded from the messages of its stream. Pure but for being mutated in place.

import { AttemptStore } from './attempts.js';
import { millis } from './format.js';

/**
 * @typedef {import('../../types/wire').Message} Message
 *
 * @typedef {object} Loss a stretch of time in which events were lost
 * @property {number} from
 * @property {number} to
 * @property {number} count
 * @property {string} stage
 */

/** Events without an attempt that are kept to be read. */
const STRAY_LIMIT = 200;
/** Neighbouring losses of one stage are joined; beyond this many the oldest are forgotten. */
const LOSS_LIMIT = 1000;
/** Losses less than this apart, in ms, are told as one. */
const LOSS_JOIN = 6000;

export class TraceState {
  attempts;
  /** @type {import('../../types/wire').Trace | null} */
  trace = null;
  /** @type {import('../../types/wire').Counters | null} */
  counters = null;
  /** Changes when the server restarts. @type {string | number | null} */
  epoch = null;
  /** The newest sequence number taken or known to be missing. */
  seq = 0;
  /** Events that had left the server's ring before this page asked. */
  expired = 0;
  /** Events that this page was not sent, by stage. @type {Map<string, number>} */
  missed = new Map();
  /** @type {Loss[]} */
  losses = [];
  /** The newest events that belong to no attempt: the passive side's, and packets nobody claims. @type {import('../../types/wire').TraceEvent[]} */
  strays = [];
  /** How many of those there were, by event. @type {Map<string, number>} */
  strayed = new Map();
  /** @type {string | null} */
  ended = null;

  /** When anything was last heard, by the server's clock. */
  heard = 0;

  #offset = 0;
  #synchronised = false;
  /** When the server last accounted for its losses. */
  #told = 0;

  /** @param {number} [limit] attempts held at most */
  constructor(limit) {
    this.attempts = new AttemptStore(limit);
  }

  /** The server's clock. @param {number} local this machine's, ms since the epoch */
  now(local) {
    return local + this.#offset;
  }

  /** When the trace began; before that nothing was watched. */
  get begin() {
    return this.trace ? millis(this.trace.created_unix_nano) : -Infinity;
  }

  /** Where the time axis ends: now, or when the trace ended. @param {number} local */
  horizon(local) {
    const ended = this.trace?.ended_unix_nano;
    return this.ended !== null && ended ? millis(ended) : this.now(local);
  }

  /** Events lost anywhere between the kernel and this page. */
  get lost() {
    const { ringbuf, queue } = this.counters?.lost ?? { ringbuf: 0, queue: 0 };
    let missed = 0;
    for (const number of this.missed.values()) missed += number;
    return { ringbuf, queue, missed, total: ringbuf + queue + missed };
  }

  /** @param {Message} message @param {number} local */
  apply(message, local) {
    this.#take(message, local);
    this.heard = this.now(local);
  }

  /** @param {Message} message @param {number} local */
  #take(message, local) {
    switch (message.type) {
      case 'hello': return this.#hello(message, local);
      case 'events': return this.#events(message.events, local);
      case 'gap': return this.#gap(message, local);
      case 'heartbeat': return this.#heartbeat(message, local);
      case 'end':
        this.ended = message.reason;
        return undefined;
      default:
        // A newer server may say more; what is not understood is not shown.
        return undefined;
    }
  }

  /** The trace as the API last told it. @param {import('../../types/wire').Trace} trace @param {number} local */
  refresh(trace, local) {
    this.trace = trace;
    this.#count(trace.counters, local);
    if (trace.state !== 'running' && trace.state !== 'armed') this.ended = trace.end_reason ?? trace.state;
  }

  /** How far a recording reaches back, in seconds, when that is less than was asked for. */
  get shortfall() {
    const { recorder, matched_unix_nano: matched, recorded_from_unix_nano: from } = this.trace ?? {};
    if (!recorder || !matched || !from) return null;
    const seconds = Number(BigInt(matched) - BigInt(from)) / 1e9;
    return seconds < recorder.before_s ? { seconds, asked: recorder.before_s } : null;
  }

  /** @param {import('../../types/wire').Hello} hello @param {number} local */
  #hello(hello, local) {
    this.epoch = hello.epoch;
    this.#told = this.#told || this.now(local);
    const absent = hello.first_seq - 1 - this.seq;
    if (absent <= 0) return;
    if (this.seq === 0) this.expired = absent;
    else this.#miss(absent, 'ring', local);
    this.seq = hello.first_seq - 1;
  }

  /** @param {import('../../types/wire').TraceEvent[]} events @param {number} local */
  #events(events, local) {
    for (const event of events) {
      // After a resume the server may start a little earlier than asked.
      if (event.seq <= this.seq) continue;
      if (event.seq > this.seq + 1) this.#miss(event.seq - this.seq - 1, 'unexplained', local);
      this.seq = event.seq;
      if (!this.attempts.take(event)) this.#stray(event);
    }
    // An event cannot come from the future: if it seems to, our clock is behind the server's.
    if (this.attempts.latest > this.now(local)) this.#offset = this.attempts.latest - local;
  }

  /** @param {import('../../types/wire').TraceEvent} event */
  #stray(event) {
    this.strayed.set(event.event, (this.strayed.get(event.event) ?? 0) + 1);
    this.strays.push(event);
    if (this.strays.length > STRAY_LIMIT) this.strays.shift();
  }

  /** @param {import('../../types/wire').Gap} gap @param {number} local */
  #gap(gap, local) {
    if (gap.to <= this.seq) return;
    // After a resume it may begin before what was taken already.
    this.#miss(Math.min(gap.count, gap.to - this.seq), gap.stage, local);
    this.seq = gap.to;
  }

  /** @param {import('../../types/wire').Heartbeat} heartbeat @param {number} local */
  #heartbeat(heartbeat, local) {
    this.#synchronise(millis(heartbeat.time_unix_nano), local);
    this.#count(heartbeat.counters, local);
    this.#told = this.now(local);
  }

  /** @param {number} server @param {number} local */
  #synchronise(server, local) {
    const offset = server - local;
    // Whatever took longest to arrive says least about the clocks.
    this.#offset = this.#synchronised ? Math.max(this.#offset, offset) : offset;
    this.#synchronised = true;
  }

  /** @param {import('../../types/wire').Counters} counters @param {number} local */
  #count(counters, local) {
    // An answer of the API may overtake a heartbeat.
    if (this.counters && counters.produced < this.counters.produced) return;
    const before = this.counters?.lost;
    if (before) {
      this.#loss(counters.lost.ringbuf - before.ringbuf, 'ringbuf', local);
      this.#loss(counters.lost.queue - before.queue, 'queue', local);
    }
    this.counters = counters;
  }

  /** @param {number} count @param {string} stage @param {number} local */
  #miss(count, stage, local) {
    this.missed.set(stage, (this.missed.get(stage) ?? 0) + count);
    this.#loss(count, stage, local);
  }

  /** @param {number} count @param {string} stage @param {number} local */
  #loss(count, stage, local) {
    if (count <= 0) return;
    this.attempts.doubtPending();
    const to = this.now(local);
    const from = Math.min(to, this.#told || to);
    const last = this.losses.findLast((loss) => loss.stage === stage);
    if (last && from - last.to < LOSS_JOIN) {
      last.to = to;
      last.count += count;
      return;
    }
    this.losses.push({ from, to, count, stage });
    if (this.losses.length > LOSS_LIMIT) this.losses.shift();
  }
}
