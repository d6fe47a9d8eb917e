import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AttemptStore } from '../../assets/js/attempts.js';
import { NO_STACK, Stacks } from '../../assets/js/intern.js';
import { TraceState } from '../../assets/js/state.js';
import { BEGIN, counters, event, hello, nano, trace } from './events.js';

const FRAMES = [{ address: '0x1', function: 'connect' }];

/** @param {import('../../types/wire').TraceEvent[]} events */
function stateOf(events) {
  const state = new TraceState();
  state.apply(hello(), BEGIN);
  state.apply({ type: 'events', events }, BEGIN);
  return state;
}

test('an attempt is folded from its events', () => {
  const state = stateOf([
    event(1, 7, 'connect.retransmit', 1000, { syn_retransmits: 1 }, { stack: { user: FRAMES, kernel: FRAMES } }),
    event(2, 7, 'connect.retransmit', 2000, { syn_retransmits: 2 }),
    event(3, 7, 'connect.failed', 4010, { syn_retransmits: 2, cause: 'closed_by_app' }),
  ]);
  const attempt = state.attempts.get(7);
  assert.ok(attempt);
  assert.equal(attempt.start, BEGIN);
  assert.equal(attempt.end, BEGIN + 4010);
  assert.equal(attempt.state, 'failed');
  assert.equal(attempt.cause, 'closed_by_app');
  assert.deepEqual(attempt.retransmits, [BEGIN + 1000, BEGIN + 2000]);
  assert.equal(attempt.userStack.frames?.length, 1);
  assert.deepEqual(attempt.marks.map((mark) => mark.kernel.frames?.length), [1, 0, 0]);
  assert.deepEqual([...state.attempts.outcomes], [['closed_by_app', 1]]);
});

test('a start is learnt from the duration when it is not told', () => {
  const state = stateOf([event(1, 7, 'connect.failed', 500, { start_unix_nano: undefined, duration_ms: 500, cause: 'refused' })]);
  assert.equal(state.attempts.get(7)?.start, BEGIN);
});

test('events that come again after a resume change nothing', () => {
  const events = [1, 2, 3].map((seq) => event(seq, 7, 'connect.retransmit', seq * 1000, { syn_retransmits: seq }));
  const state = stateOf(events);
  state.apply(hello({ next_seq: 4 }), BEGIN);
  state.apply({ type: 'events', events: events.slice(1) }, BEGIN);
  assert.equal(state.seq, 3);
  assert.equal(state.attempts.get(7)?.retransmits.length, 3);
  assert.equal(state.lost.total, 0);
});

test('any cutting into connections and messages gives the same attempts', () => {
  const events = Array.from({ length: 60 }, (_, index) => {
    const last = index % 3 === 2;
    return event(index + 1, Math.floor(index / 3), last ? 'connect.failed' : 'connect.retransmit', index * 10, last ? { cause: 'timeout' } : {});
  });
  const whole = stateOf(events);
  let seed = 1;
  const random = (/** @type {number} */ below) => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  for (let round = 0; round < 100; round += 1) {
    const state = new TraceState();
    while (state.seq < events.length) {
      // The server resumes at or before what was asked for.
      let from = Math.max(0, state.seq - random(4));
      state.apply(hello({ next_seq: events.length + 1 }), BEGIN);
      for (let messages = random(4); messages >= 0; messages -= 1) {
        const to = Math.min(events.length, from + 1 + random(9));
        state.apply({ type: 'events', events: events.slice(from, to) }, BEGIN);
        from = to;
      }
    }
    assert.equal(state.lost.total, 0);
    for (let lane = 0; lane < 20; lane += 1) assert.deepEqual(state.attempts.at(lane), whole.attempts.at(lane));
  }
});

test('gaps are counted by stage, and pending attempts become uncertain', () => {
  const state = stateOf([event(1, 7, 'connect.retransmit', 1000)]);
  state.apply({ type: 'gap', from: 2, to: 5, count: 4, stage: 'reader' }, BEGIN + 2000);
  state.apply({ type: 'gap', from: 2, to: 5, count: 4, stage: 'reader' }, BEGIN + 2000);
  assert.deepEqual(state.lost, { ringbuf: 0, queue: 0, missed: 4, total: 4 });
  assert.equal(state.attempts.get(7)?.uncertain, true);
  state.apply({ type: 'events', events: [event(6, 7, 'connect.failed', 3000, { cause: 'timeout' })] }, BEGIN + 3000);
  assert.equal(state.attempts.get(7)?.uncertain, false);
});

test('a hole that nobody explains is counted too', () => {
  const state = stateOf([event(1, 7, 'connect.retransmit', 1000), event(4, 7, 'connect.retransmit', 2000)]);
  assert.deepEqual([...state.missed], [['unexplained', 2]]);
});

test('events that had expired before the page came are no loss', () => {
  const state = new TraceState();
  state.apply(hello({ first_seq: 101, next_seq: 102 }), BEGIN);
  state.apply({ type: 'events', events: [event(101, 7, 'connect.failed', 0, { cause: 'refused' })] }, BEGIN);
  assert.equal(state.expired, 100);
  assert.equal(state.lost.total, 0);
});

test('losses in the kernel become bands of time between heartbeats', () => {
  const state = stateOf([]);
  const beat = (/** @type {number} */ at, /** @type {number} */ ringbuf) =>
    state.apply({ type: 'heartbeat', time_unix_nano: nano(BEGIN + at), counters: counters({ ringbuf }) }, BEGIN + at);
  beat(5000, 0);
  beat(10_000, 12);
  beat(15_000, 30);
  beat(60_000, 30);
  beat(65_000, 31);
  assert.deepEqual(state.losses, [
    { from: BEGIN + 5000, to: BEGIN + 15_000, count: 30, stage: 'ringbuf' },
    { from: BEGIN + 60_000, to: BEGIN + 65_000, count: 1, stage: 'ringbuf' },
  ]);
  assert.equal(state.lost.total, 31);
});

test('the server\'s clock is the one that counts', () => {
  const state = stateOf([]);
  state.apply({ type: 'heartbeat', time_unix_nano: nano(BEGIN), counters: counters() }, BEGIN - 90_000);
  assert.equal(state.now(BEGIN - 90_000), BEGIN);
  state.apply({ type: 'heartbeat', time_unix_nano: nano(BEGIN + 5000), counters: counters() }, BEGIN - 84_000);
  assert.equal(state.now(BEGIN - 84_000), BEGIN + 6000, 'a late heartbeat does not turn the clock back');
});

test('an end is remembered, and the time axis stops there', () => {
  const state = stateOf([]);
  state.apply({ type: 'end', reason: 'ttl' }, BEGIN);
  state.refresh(trace({ state: 'stopped', end_reason: 'ttl', ended_unix_nano: nano(BEGIN + 9000) }), BEGIN);
  assert.equal(state.ended, 'ttl');
  assert.equal(state.horizon(BEGIN + 60_000), BEGIN + 9000);
});

test('a recording that reaches back less far than was asked for says so', () => {
  const recorder = { before_s: 60, after_s: 1, filter: 'cause=refused' };
  const shortfall = (/** @type {object} */ more) => {
    const state = new TraceState();
    state.refresh(trace({ recorder, ...more }), BEGIN);
    return state.shortfall;
  };
  const matched = { matched_unix_nano: nano(BEGIN + 90_000) };
  assert.equal(shortfall({}), null);
  assert.equal(shortfall({ ...matched, recorded_from_unix_nano: nano(BEGIN + 30_000) }), null);
  assert.deepEqual(shortfall({ ...matched, recorded_from_unix_nano: nano(BEGIN + 85_000) }), { seconds: 5, asked: 60 });
});

test('the store forgets the oldest at its limit and says how many', () => {
  const store = new AttemptStore(3000);
  for (let id = 1; id <= 10_000; id += 1) store.take(event(id, id, 'connect.failed', id, { cause: 'refused' }));
  assert.equal(store.size, 3000);
  assert.equal(store.dropped, 7000);
  assert.deepEqual([...store.outcomes], [['refused', 3000]]);
  assert.equal(store.get(7000), undefined);
  const first = store.at(0);
  assert.ok(first);
  assert.equal(first.id, 7001);
  assert.equal(store.list()[0], first);
  assert.equal(store.list().length, 3000);
  assert.equal(store.at(2999)?.id, 10_000);
  assert.equal(store.at(3000), undefined);
});

test('equal stacks and owners are held once', () => {
  const store = new AttemptStore();
  for (let id = 1; id <= 2; id += 1) {
    const stack = { user: [{ address: '0x1' }], kernel: [{ address: '0x2' }] };
    store.take(event(id, id, 'connect.failed', id, { cause: 'refused' }, { stack }));
  }
  assert.equal(store.get(1)?.userStack, store.get(2)?.userStack);
  assert.equal(store.get(1)?.process, store.get(2)?.process);
});

test('stacks are bounded: what has not come again for long is forgotten, and says so', () => {
  const stacks = new Stacks(3);
  const [common, ...others] = ['0x1', '0x2', '0x3', '0x4', '0x5', '0x6'].map((address) => {
    const stack = stacks.share([{ address }]);
    assert.equal(stacks.share([{ address: '0x1' }]).frames?.[0].address, '0x1');
    return stack;
  });
  assert.ok(common.frames);
  assert.deepEqual(others.map(({ frames }) => frames !== null), [false, false, false, true, true]);
  assert.equal(stacks.share([]), NO_STACK);
});
