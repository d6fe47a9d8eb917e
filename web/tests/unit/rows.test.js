import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AttemptStore } from '../../assets/js/attempts.js';
import { LEAST, LULL, foldStorms } from '../../assets/js/fold.js';
import { Rows, isHead, keyOf } from '../../assets/js/rows.js';
import { nextSort } from '../../assets/js/sort.js';
import { BEGIN, event, nano } from './events.js';

/** @typedef {import('../../assets/js/attempts.js').Attempt} Attempt */

const CAUSES = ['refused', 'timeout', 'closed_by_app'];

/** @param {number} seed */
function dice(seed) {
  let state = seed;
  return (/** @type {number} */ below) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
}

/**
 * A random hour: storms on few peers, among attempts that are still pending.
 * @param {number} seed @param {number} [size]
 */
function randomStore(seed, size = 200) {
  const random = dice(seed);
  const store = new AttemptStore();
  let at = 0;
  for (let id = 1; id <= size; id += 1) {
    at += random(50) === 0 ? random(3 * LULL) : random(2000);
    const cause = CAUSES[random(3)];
    const pending = random(8) === 0;
    store.take(event(id, id, pending ? 'connect.retransmit' : 'connect.failed', at + 5, { cause: pending ? undefined : cause, start_unix_nano: nano(BEGIN + at) }, {
      network: { peer: { address: '10.0.0.1', port: 80 + random(3) } }, process: { pid: id, comm: random(2) === 0 ? 'nc' : 'curl', netns: 1 },
    }));
  }
  return store;
}

/** @param {readonly (Attempt | import('../../assets/js/fold.js').Storm)[]} folded */
function members(folded) {
  return folded.flatMap((entry) => ('members' in entry ? entry.members : [entry]));
}

test('folding keeps every attempt exactly once, in order of the firsts, and joins only equals', () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const attempts = randomStore(seed).list();
    const folded = foldStorms(attempts);
    assert.deepEqual(new Set(members(folded)), new Set(attempts));
    assert.equal(members(folded).length, attempts.length);
    const firsts = folded.map((entry) => ('members' in entry ? entry.members[0] : entry).ordinal);
    assert.deepEqual(firsts, firsts.toSorted((a, b) => a - b));
    for (const entry of folded) {
      if (!('members' in entry)) continue;
      assert.ok(entry.members.length >= LEAST);
      entry.members.forEach((attempt, index) => {
        const before = entry.members[index - 1] ?? attempt;
        assert.deepEqual([attempt.cause, attempt.network.peer, attempt.process?.comm], [before.cause, before.network.peer, before.process?.comm]);
        assert.notEqual(attempt.state, 'pending');
        assert.ok(attempt.start - before.start <= LULL);
        assert.ok(attempt.ordinal >= before.ordinal);
      });
    }
    assert.ok(folded.length < attempts.length, 'the generator makes storms');
  }
});

test('what comes later only extends a fold: no row that is there already moves away', () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const attempts = randomStore(seed).list();
    const whole = foldStorms(attempts);
    for (const cut of [20, 70, 150]) {
      for (const entry of foldStorms(attempts.slice(0, cut))) {
        if (!('members' in entry)) continue;
        const later = whole.find((other) => 'members' in other && other.members[0] === entry.members[0]);
        assert.ok(later && 'members' in later);
        assert.deepEqual(later.members.slice(0, entry.members.length), entry.members);
      }
    }
  }
});

test('a storm says how many and how often, and a lull ends it', () => {
  const store = new AttemptStore();
  const refused = (/** @type {number} */ id, /** @type {number} */ at) =>
    store.take(event(id, id, 'connect.failed', at + 1, { cause: 'refused', start_unix_nano: nano(BEGIN + at) }));
  for (let id = 0; id < 10; id += 1) refused(id + 1, id * 1000);
  refused(11, 9000 + LULL + 1);
  const rows = new Rows();
  rows.update(store, 0, BEGIN);
  const [storm, alone] = [rows.at(0), rows.at(1)];
  assert.ok(isHead(storm) && !isHead(alone));
  assert.equal(storm.label, '×10 refused, every 1.00 s · 203.0.113.7:22 · nc');
  assert.equal(foldStorms(store.list(), () => true).length, 11, 'what is kept apart is not folded');
});

/** @param {Rows} rows */
function attemptsIn(rows) {
  /** @type {Attempt[]} */
  const found = [];
  for (let index = 0; index < rows.size; index += 1) {
    const row = rows.at(index);
    if (!isHead(row)) found.push(row);
    else if (!row.open) found.push(...row.attempts);
  }
  return found;
}

test('no arrangement loses or doubles an attempt, or uses a key twice', () => {
  const store = randomStore(7, 300);
  const random = dice(99);
  const rows = new Rows();
  for (let round = 0; round < 200; round += 1) {
    rows.arrange({ group: ['', 'peer', 'process', 'container', 'netns', 'cause'][random(6)], sort: ['told', '-failures', '-took'][random(3)], fold: random(2) === 0 });
    rows.update(store, 0, BEGIN);
    const any = rows.at(random(rows.size));
    if (random(2) === 0) rows.pin(keyOf(any));
    if (isHead(any)) rows.toggle(any.key);
    rows.update(store, 0, BEGIN);
    const keys = Array.from({ length: rows.size }, (_, index) => keyOf(rows.at(index)));
    assert.equal(new Set(keys).size, keys.length);
    const found = attemptsIn(rows);
    assert.equal(found.length, 300, JSON.stringify(rows.arrangement));
    assert.equal(new Set(found).size, 300);
  }
});

test('groups are counted, sorted by failures, collapsed and pinned', () => {
  const store = new AttemptStore();
  ['a', 'b', 'b', 'c', 'c', 'c'].forEach((comm, index) => store.take(
    event(index + 1, index + 1, comm === 'c' ? 'connect.established' : 'connect.failed', index, {}, { process: { pid: 1, comm } })));
  const rows = new Rows();
  const heads = () => {
    rows.update(store, 0, BEGIN);
    return Array.from({ length: rows.size }, (_, index) => rows.at(index)).filter(isHead).map(({ label, failed }) => `${label} ${failed}`);
  };
  rows.arrange({ group: 'process' });
  assert.deepEqual(heads(), ['a 1', 'b 2', 'c 0']);
  assert.equal(rows.size, 9);
  rows.arrange({ sort: '-failures' });
  assert.deepEqual(heads(), ['b 2', 'a 1', 'c 0']);
  rows.pin('process:c');
  assert.deepEqual(heads(), ['c 0', 'b 2', 'a 1']);
  rows.toggle('process:c');
  heads();
  assert.equal(rows.size, 6);
  rows.reveal(store.list()[5]);
  assert.equal(rows.indexOf(5) > 0, true);
});

test('an attempt in a storm in a collapsed group is brought to light', () => {
  const store = new AttemptStore();
  for (let id = 1; id <= 9; id += 1) store.take(event(id, id, 'connect.failed', id, { cause: 'refused' }));
  const rows = new Rows();
  rows.arrange({ group: 'peer' });
  rows.update(store, 0, BEGIN);
  assert.equal(rows.size, 2);
  rows.toggle('peer:203.0.113.7:22');
  rows.update(store, 0, BEGIN);
  assert.equal(rows.size, 1);
  rows.reveal(store.list()[4]);
  assert.equal(rows.indexOf(4), 6);
});

test('rows are sorted by any column, both ways, and equals stay as they were told', () => {
  const store = new AttemptStore();
  [['b', 3, 10], ['a', 1, 30], ['b', 2, 20], ['a', 1, 30]].forEach(([comm, retries, took], index) => store.take(
    event(index + 1, index + 1, 'connect.failed', Number(took) + index, { cause: 'timeout', syn_retransmits: Number(retries), start_unix_nano: nano(BEGIN + index) }, {
      process: { pid: 1, comm: String(comm) }, network: { peer: { address: `10.0.0.${10 - index}`, port: 80 } },
    })));
  const rows = new Rows();
  const order = (/** @type {string} */ sort) => {
    rows.arrange({ sort });
    rows.update(store, 0, BEGIN);
    return Array.from({ length: rows.size }, (_, index) => keyOf(rows.at(index))).join('');
  };
  assert.deepEqual(['told', '-time', 'retries', '-took', 'process', '-process', 'peer', '-peer', 'constructor'].map(order),
    ['0123', '3210', '1320', '1320', '1302', '0213', '3210', '0123', '0123']);
  rows.pin(2);
  assert.equal(order('-took'), '2130', 'pinned first');
});

test('a click on a column\'s head turns its order round, and then back to how it was told', () => {
  assert.deepEqual([nextSort('told', 'took'), nextSort('-took', 'took'), nextSort('took', 'took'), nextSort('took', 'peer'), nextSort('peer', 'peer')],
    ['-took', 'took', 'told', 'peer', '-peer']);
});

test('a filter is asked again when an attempt changes, and while its time runs', () => {
  const store = new AttemptStore();
  store.take(event(1, 1, 'connect.retransmit', 1000));
  const rows = new Rows();
  const shown = (/** @type {number} */ now) => {
    rows.arrange({});
    rows.update(store, 0, BEGIN + now);
    return rows.size;
  };
  rows.narrow(({ start, end, state }, now) => (end ?? now) - start > 5000 && state !== 'established');
  assert.deepEqual([shown(2000), rows.hidden, shown(6000), rows.hidden], [0, 1, 1, 0]);
  store.take(event(2, 1, 'connect.established', 7000));
  assert.equal(shown(7000), 0);
  rows.narrow(null);
  assert.equal(shown(7000), 1);
});
