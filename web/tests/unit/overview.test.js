import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AttemptStore } from '../../assets/js/attempts.js';
import { OUTCOME_KEYS } from '../../assets/js/causes.js';
import { barWidth, countBars } from '../../assets/js/overview.js';
import { BEGIN, event, nano } from './events.js';

/** @param {[start: number, cause: string][]} failures */
function storeOf(failures) {
  const store = new AttemptStore();
  failures.forEach(([start, cause], index) => store.take(
    event(index + 1, index + 1, 'connect.failed', start + 1, { cause, start_unix_nano: nano(BEGIN + start) })));
  return store;
}

test('bars are no more than asked for, and stand still while the range grows', () => {
  for (let range = 1; range < 1e9; range *= 3.3) {
    const width = barWidth(range, 100);
    assert.ok(range / width <= 100 && range / width > 49.9 || width === 1, `${range}`);
  }
  const store = storeOf([[0, 'refused']]);
  const one = countBars(store, { from: BEGIN, to: BEGIN + 5000 }, 10);
  const two = countBars(store, { from: BEGIN, to: BEGIN + 5100 }, 10);
  assert.deepEqual([two.from, two.width], [one.from, one.width]);
});

test('every attempt within the range is counted once, by its outcome', () => {
  const causes = ['refused', 'timeout', 'brand_new'];
  const failures = Array.from({ length: 500 }, (_, index) => /** @type {[number, string]} */ ([(index * 7919) % 60_000, causes[index % 3]]));
  const bars = countBars(storeOf([...failures, [-600_000, 'refused']]), { from: BEGIN, to: BEGIN + 60_000 }, 40);
  const totals = new Map(OUTCOME_KEYS.map((key, kind) => [key, bars.numbers.filter((_, index) => index % OUTCOME_KEYS.length === kind).reduce((sum, number) => sum + number, 0)]));
  assert.deepEqual([totals.get('refused'), totals.get('timeout'), totals.get('other')], [167, 167, 166]);
  assert.equal([...totals.values()].reduce((sum, number) => sum + number), 500);
  assert.ok(bars.count <= 42);
});

test('the fullest bar is known', () => {
  const bars = countBars(storeOf([[0, 'refused'], [1, 'timeout'], [50_000, 'refused']]), { from: BEGIN, to: BEGIN + 60_000 }, 10);
  assert.equal(bars.highest, 2);
});
