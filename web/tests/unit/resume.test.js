// A page that loses its connection again and again must end up with what one that never did has; what it was not
// sent it must have counted, once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TraceState } from '../../assets/js/state.js';
import { BEGIN, event, hello } from './events.js';

const EVENTS = Array.from({ length: 80 }, (_, index) => {
  const last = index % 4 === 3;
  return event(index + 1, Math.floor(index / 4) + 1, last ? 'connect.failed' : 'connect.retransmit', index * 10, last ? { cause: 'timeout' } : {});
});

/**
 * One connection: the server begins `early` events before what was asked for, and sends messages of these sizes
 * before the connection drops. `expired` events leave its ring at the beginning, `skipped` in the middle.
 */
const connection = fc.record({
  early: fc.nat(3), expired: fc.nat(6), skipped: fc.nat(3), sizes: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 4 }),
});

/** @param {TraceState} state @param {{ early: number, expired: number, skipped: number, sizes: number[] }} drawn @param {{ first: number, told: Set<number> }} server */
function connect(state, { early, expired, skipped, sizes }, server) {
  server.first = Math.min(EVENTS.length + 1, server.first + expired);
  state.apply(hello({ first_seq: server.first, next_seq: EVENTS.length + 1 }), BEGIN);
  let next = Math.max(server.first, state.seq + 1 - early);
  sizes.forEach((size, index) => {
    const events = EVENTS.slice(next - 1, next - 1 + size);
    if (events.length === 0) return;
    for (const { seq } of events) server.told.add(seq);
    state.apply({ type: 'events', events }, BEGIN);
    next += events.length;
    if (index > 0 || skipped === 0 || next + skipped > EVENTS.length + 1) return;
    state.apply({ type: 'gap', from: next, to: next + skipped - 1, count: skipped, stage: 'ring' }, BEGIN);
    next += skipped;
  });
}

test('every event is taken once or counted as missing once, however often the connection drops', () => {
  fc.assert(fc.property(fc.array(connection, { maxLength: 12, size: 'max' }), (connections) => {
    const [state, server] = [new TraceState(), { first: 1, told: new Set() }];
    for (const drawn of connections) connect(state, drawn, server);
    connect(state, { early: 2, expired: 0, skipped: 0, sizes: [EVENTS.length] }, server);
    assert.equal(state.seq, EVENTS.length);
    const missing = state.lost.total + state.expired;
    const kept = state.attempts.list().reduce((sum, { marks }) => sum + marks.length, 0);
    assert.equal(kept + missing, EVENTS.length);
    assert.ok(kept <= server.told.size);
  }));
});

test('without losses the attempts are those of an unbroken connection', () => {
  const whole = new TraceState();
  whole.apply(hello(), BEGIN);
  whole.apply({ type: 'events', events: EVENTS }, BEGIN);
  fc.assert(fc.property(fc.array(connection, { maxLength: 12, size: 'max' }), (connections) => {
    const [state, server] = [new TraceState(), { first: 1, told: new Set() }];
    for (const drawn of connections) connect(state, { ...drawn, expired: 0, skipped: 0 }, server);
    connect(state, { early: 3, expired: 0, skipped: 0, sizes: [EVENTS.length] }, server);
    assert.equal(state.lost.total + state.expired, 0);
    assert.deepEqual(state.attempts.list(), whole.attempts.list());
  }));
});
