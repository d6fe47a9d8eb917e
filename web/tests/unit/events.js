// Builders of what the server sends.

/**
 * @typedef {import('../../types/wire').TraceEvent} TraceEvent
 * @typedef {import('../../types/wire').Trace} Trace
 * @typedef {import('../../types/wire').Counters} Counters
 */

export const BEGIN = 1_790_000_000_000;

/** @param {number} ms */
export function nano(ms) {
  return `${Math.floor(ms)}${String(Math.round((ms % 1) * 1e6)).padStart(6, '0')}`;
}

/**
 * @param {number} seq @param {number} attempt @param {string} name @param {number} at ms after BEGIN
 * @param {Partial<import('../../types/wire').Connect>} [connect] @param {Partial<TraceEvent>} [rest]
 * @returns {TraceEvent}
 */
export function event(seq, attempt, name, at, connect = {}, rest = {}) {
  return {
    seq,
    attempt,
    event: name,
    time_unix_nano: nano(BEGIN + at),
    network: { type: 'ipv4', local: { address: '10.0.0.5', port: 43210 }, peer: { address: '203.0.113.7', port: 22 } },
    process: { pid: 4242, tid: 4242, comm: 'nc', user: { id: 0 } },
    tcp: { connect: { start_unix_nano: nano(BEGIN), duration_ms: at, syn_retransmits: 0, ...connect } },
    ...rest,
  };
}

/** @param {Partial<Counters['lost']>} [lost] @returns {Counters} */
export function counters(lost = {}) {
  return {
    produced: 0,
    delivered: 0,
    lost: { ringbuf: 0, queue: 0, ...lost },
    attempts: { started: 0, established: 0, failed: 0, untracked: 0, quiet: 0 },
  };
}

/** @param {Partial<Trace>} [rest] @returns {Trace} */
export function trace(rest = {}) {
  return {
    id: 'k3v9x2ma7q', name: 'nightly', state: 'running', end_reason: null,
    created_unix_nano: nano(BEGIN), ended_unix_nano: null,
    events: { first_seq: 1, next_seq: 1 }, counters: counters(), ...rest,
  };
}

/** @param {Partial<import('../../types/wire').Hello>} [rest] @returns {import('../../types/wire').Hello} */
export function hello(rest = {}) {
  return { type: 'hello', epoch: 'one', trace: 'k3v9x2ma7q', first_seq: 1, next_seq: 1, ...rest };
}
