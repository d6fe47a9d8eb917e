// Whatever happens, folding must neither lose nor invent, and never take apart what it has put together.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AttemptStore } from '../../assets/js/attempts.js';
import { LEAST, LULL, foldStorms } from '../../assets/js/fold.js';
import { BEGIN, event, nano } from './events.js';

/** @typedef {import('../../assets/js/attempts.js').Attempt} Attempt */

/** A connect that begins `after` ms after the one before, and ends `took` ms later, or not at all. */
const connect = fc.record({
  after: fc.oneof({ weight: 20, arbitrary: fc.nat(1000) }, { weight: 1, arbitrary: fc.constantFrom(0, LULL - 1, LULL, LULL + 1, 3 * LULL) }),
  took: fc.option(fc.oneof(fc.nat(100), fc.nat(2 * LULL))),
  cause: fc.constantFrom('refused', 'timeout'),
  port: fc.constantFrom(80, 443),
  comm: fc.constantFrom('nc', 'curl'),
});

/** Events in the order of their times. @param {{ after: number, took: number | null, cause: string, port: number, comm: string }[]} connects */
function eventsOf(connects) {
  let start = 0;
  const told = connects.flatMap(({ after, took, cause, port, comm }, index) => {
    start += after;
    const rest = { network: { peer: { address: '10.0.0.1', port } }, process: { pid: 1, comm, netns: 1 } };
    const begun = { at: start, make: (/** @type {number} */ seq, /** @type {number} */ at) => event(seq, index + 1, 'connect.start', at, { start_unix_nano: nano(BEGIN + at) }, rest) };
    if (took === null) return [begun];
    return [begun, { at: start + took, make: (/** @type {number} */ seq, /** @type {number} */ at) => event(seq, index + 1, 'connect.failed', at, { cause }, rest) }];
  });
  return told.sort((a, b) => a.at - b.at).map(({ at, make }, index) => make(index + 1, at));
}

/** @param {readonly (Attempt | import('../../assets/js/fold.js').Storm)[]} folded */
function groupsOf(folded) {
  return folded.map((entry) => ('members' in entry ? entry.members : [entry]));
}

/** Storms to fold must be likely. */
const CONNECTS = fc.array(connect, { minLength: 1, maxLength: 120, size: 'max' });

test('every attempt is shown exactly once, at the place of its storm\'s first', () => {
  fc.assert(fc.property(CONNECTS, fc.integer({ min: 5, max: 200 }), (connects, limit) => {
    const store = new AttemptStore(limit);
    for (const told of eventsOf(connects)) store.take(told);
    const groups = groupsOf(foldStorms(store.list()));
    assert.deepEqual(groups.flat().map(({ ordinal }) => ordinal).sort((a, b) => a - b), store.list().map(({ ordinal }) => ordinal));
    const firsts = groups.map((members) => Math.min(...members.map(({ ordinal }) => ordinal)));
    assert.deepEqual(firsts, firsts.toSorted((a, b) => a - b));
  }));
});

test('only equals that follow each other closely are joined', () => {
  fc.assert(fc.property(CONNECTS, (connects) => {
    const store = new AttemptStore();
    for (const told of eventsOf(connects)) store.take(told);
    for (const members of groupsOf(foldStorms(store.list()))) {
      if (members.length === 1) continue;
      assert.ok(members.length >= LEAST);
      const kinds = members.map(({ state, cause, network, process }) => JSON.stringify([state, cause, network.peer, process?.comm]));
      assert.equal(new Set(kinds).size, 1);
      assert.equal(members[0].state, 'failed');
      const starts = members.map(({ start }) => start).sort((a, b) => a - b);
      starts.forEach((start, index) => assert.ok(index === 0 || start - starts[index - 1] <= LULL));
    }
  }));
});

test('what was folded together stays together while more is told', () => {
  fc.assert(fc.property(CONNECTS, (connects) => {
    const store = new AttemptStore();
    /** The storm that each attempt was seen in. @type {Map<number, number>} */
    const seen = new Map();
    for (const told of eventsOf(connects)) {
      store.take(told);
      for (const entry of foldStorms(store.list())) {
        if (!('members' in entry)) {
          assert.ok(!seen.has(entry.id), `attempt ${entry.id} left its storm`);
          continue;
        }
        for (const { id } of entry.members) {
          assert.equal(seen.get(id) ?? entry.run.id, entry.run.id);
          seen.set(id, entry.run.id);
        }
      }
    }
  }), { numRuns: 40 });
});
