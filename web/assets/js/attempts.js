// The attempts that the page holds: folded from events, bounded, oldest dropped first. Pure.

import { Flows } from './flow.js';
import { joinRun } from './fold.js';
import { millis } from './format.js';
import { Interner, NO_STACK, Stacks } from './intern.js';

/**
 * @typedef {import('../../types/wire').TraceEvent} TraceEvent
 * @typedef {import('./intern.js').Stack} Stack
 *
 * @typedef {import('../../types/wire').Around} Around
 *
 * @typedef {object} Mark one event of an attempt
 * @property {number} seq
 * @property {string} event
 * @property {number} time
 * @property {string | undefined} reason why a packet was dropped
 * @property {Stack} kernel
 *
 * @typedef {object} Attempt
 * @property {number} id
 * @property {number} ordinal   position among all attempts seen; never changes
 * @property {'pending' | 'established' | 'failed'} state
 * @property {string | null} cause
 * @property {import('./flow.js').Flow} flow
 * @property {import('./fold.js').Run | null} run  of equal attempts; none while pending
 * @property {number} start     ms since the epoch, as all times here
 * @property {number | null} end
 * @property {number} latest    time of the newest event
 * @property {number} lastSeq
 * @property {number[]} retransmits  times, ascending
 * @property {number} synRetransmits what the kernel counted; more than `retransmits` when events were lost
 * @property {Mark[]} marks
 * @property {number} marksDropped
 * @property {boolean} uncertain its end may be among events that never arrived
 * @property {import('../../types/wire').Network} network
 * @property {import('../../types/wire').Process | undefined} process
 * @property {Around} around
 * @property {string | undefined} error
 * @property {import('../../types/wire').Connect} connect
 * @property {Stack} userStack
 * @property {number} judged    which filter last looked at it; 0 after a change
 * @property {boolean} fits     what that filter said
 */

/** Held by the page; about 1 kB each, as equal stacks are shared. */
export const ATTEMPT_LIMIT = 100_000;
/** A SYN is retried 127 times at most (tcp_syn_retries); the rest are marks of other kinds. */
const MARK_LIMIT = 200;
/** Members of an event that tell of its surroundings. @type {(keyof Around)[]} */
const AROUND = ['diagnosis', 'nat', 'twin', 'listener', 'port_history', 'other_end', 'local_drops', 'container', 'k8s', 'systemd'];

/** @type {import('./flow.js').Flow} */
const NO_FLOW = { key: '', runs: new Map(), labels: {} };

export class AttemptStore {
  /** Attempts forgotten because of the limit. */
  dropped = 0;
  /** Attempts by outcome: a cause, `established` or `pending`. @type {Map<string, number>} */
  outcomes = new Map();
  /** Start of the oldest attempt ever held and end of the newest, for fitting the view. */
  earliest = Infinity;
  latest = -Infinity;
  /** Changes with every event taken. */
  version = 0;

  /** @type {Map<number, Attempt>} */
  #byId = new Map();
  /** @type {(Attempt | undefined)[]} */
  #rows = [];
  #head = 0;
  #limit;
  #interned = new Interner();
  #stacks = new Stacks();
  #flows = new Flows();

  /** @param {number} [limit] */
  constructor(limit = ATTEMPT_LIMIT) {
    this.#limit = limit;
  }

  get size() {
    return this.#byId.size;
  }

  /** How many are in each state. */
  get tally() {
    const pending = this.outcomes.get('pending') ?? 0;
    const established = this.outcomes.get('established') ?? 0;
    return { pending, established, failed: this.size - pending - established };
  }

  /** @param {number} id */
  get(id) {
    return this.#byId.get(id);
  }

  /** The oldest held is at 0. @param {number} lane */
  at(lane) {
    return this.#rows[this.#head + lane];
  }

  /** All that are held, oldest first. */
  list() {
    return /** @type {Attempt[]} */ (this.#rows.slice(this.#head));
  }

  /** Takes an event in, if it belongs to an attempt. @param {TraceEvent} event */
  take(event) {
    if (event.attempt === undefined || event.event.startsWith('accept.')) return false;
    let attempt = this.#byId.get(event.attempt);
    if (!attempt) {
      attempt = this.#add(event, event.attempt);
    } else {
      this.#count(attempt, -1);
    }
    this.#fold(attempt, event);
    this.#count(attempt, 1);
    this.version += 1;
    return true;
  }

  /** After a loss, an attempt that still looks pending may have ended unseen. */
  doubtPending() {
    for (const attempt of this.#byId.values()) {
      if (attempt.state === 'pending') attempt.uncertain = true;
    }
  }

  /** @param {TraceEvent} event @param {number} id */
  #add(event, id) {
    const time = millis(event.time_unix_nano);
    const connect = event.tcp?.connect ?? {};
    const start = connect.start_unix_nano ? millis(connect.start_unix_nano) : time - (connect.duration_ms ?? 0);
    /** @type {Attempt} */
    const attempt = {
      id, start, end: null, latest: time, state: 'pending', cause: null, flow: NO_FLOW, run: null, lastSeq: event.seq,
      ordinal: this.dropped + this.#byId.size,
      retransmits: [], synRetransmits: 0, marks: [], marksDropped: 0, uncertain: false,
      network: {}, process: undefined, around: {}, error: undefined, connect: {}, userStack: NO_STACK, judged: 0, fits: true,
    };
    this.#byId.set(id, attempt);
    this.#rows.push(attempt);
    this.earliest = Math.min(this.earliest, start);
    this.#bound();
    return attempt;
  }

  #bound() {
    while (this.#byId.size > this.#limit) {
      const oldest = /** @type {Attempt} */ (this.#rows[this.#head]);
      this.#rows[this.#head] = undefined;
      this.#head += 1;
      this.#byId.delete(oldest.id);
      if (oldest.marks.length > 0) this.#count(oldest, -1);
      this.dropped += 1;
    }
    if (this.#head > 1024 && this.#head * 2 > this.#rows.length) {
      this.#rows = this.#rows.slice(this.#head);
      this.#head = 0;
    }
  }

  /** @param {Attempt} attempt @param {TraceEvent} event */
  #fold(attempt, event) {
    const time = millis(event.time_unix_nano);
    const connect = event.tcp?.connect;
    attempt.lastSeq = Math.max(attempt.lastSeq, event.seq);
    attempt.latest = Math.max(attempt.latest, time);
    attempt.uncertain = false;
    this.latest = Math.max(this.latest, time);
    if (event.network) attempt.network = event.network;
    // A packet that is dropped on the passive side has no caller, and must not take the attempt's away.
    if (event.process?.pid !== undefined) attempt.process = this.#interned.share(processKey(event.process), event.process);
    if (event.stack?.user?.length) attempt.userStack = this.#stacks.share(event.stack.user);
    const dropped = event.event === 'skb.drop';
    if (connect && !dropped) {
      Object.assign(attempt.connect, connect);
      attempt.synRetransmits = Math.max(attempt.synRetransmits, connect.syn_retransmits ?? 0);
    }
    for (const name of AROUND) {
      // A drop's diagnosis explains the packet, not the attempt.
      if (event[name] !== undefined && !(dropped && name === 'diagnosis')) /** @type {Record<string, unknown>} */ (attempt.around)[name] = event[name];
    }
    attempt.flow = this.#flows.of(attempt);
    attempt.judged = 0;
    this.#mark(attempt, event, time);
    this.#advance(attempt, event, time);
  }

  /** @param {Attempt} attempt @param {TraceEvent} event @param {number} time */
  #mark(attempt, event, time) {
    if (attempt.marks.length >= MARK_LIMIT) {
      attempt.marks.shift();
      attempt.marksDropped += 1;
    }
    const kernel = this.#stacks.share(event.stack?.kernel);
    attempt.marks.push({ seq: event.seq, event: event.event, time, kernel, reason: event.tcp?.connect?.drop_reason });
  }

  /** @param {Attempt} attempt @param {TraceEvent} event @param {number} time */
  #advance(attempt, event, time) {
    if (event.event === 'connect.retransmit') {
      attempt.retransmits.push(time);
      // Two processors may tell in another order than things happened.
      attempt.retransmits.sort((a, b) => a - b);
      attempt.synRetransmits = Math.max(attempt.synRetransmits, attempt.retransmits.length);
    } else if (event.event === 'connect.established' || event.event === 'connect.failed') {
      attempt.state = event.event === 'connect.failed' ? 'failed' : 'established';
      attempt.end = time;
      attempt.cause = attempt.state === 'failed' ? (event.tcp?.connect?.cause ?? 'other') : null;
      attempt.error = event.error?.type;
      attempt.run = joinRun(attempt.flow.runs, attempt.cause ?? attempt.state, attempt);
    }
  }

  /** @param {Attempt} attempt @param {number} change */
  #count(attempt, change) {
    const key = attempt.cause ?? attempt.state;
    const left = (this.outcomes.get(key) ?? 0) + change;
    if (left === 0) this.outcomes.delete(key);
    else this.outcomes.set(key, left);
  }
}

/** What tells two callers apart; a process may have told less of itself at first. @param {import('../../types/wire').Process} process */
function processKey({ pid, tid, comm, user, cgroup, netns, netns_name: name, executable, ancestry }) {
  return `${pid} ${tid} ${comm} ${user?.id} ${netns} ${name} ${ancestry?.length} ${cgroup}\n${executable?.path}`;
}
