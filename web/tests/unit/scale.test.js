import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAX_SPAN, MIN_SPAN, fit, pan, span, ticks, toPixel, toTime, zoom } from '../../assets/js/scale.js';

const domain = { from: 1000, to: 3000 };

test('pixels and times are each other\'s inverse', () => {
  assert.equal(toPixel(domain, 500, 2000), 250);
  assert.equal(toTime(domain, 500, 250), 2000);
});

test('zooming keeps the time under the pointer in place', () => {
  for (const about of [1000, 1234, 3000, 5000]) {
    const zoomed = zoom(domain, 0.5, about);
    assert.ok(Math.abs(toPixel(zoomed, 500, about) - toPixel(domain, 500, about)) < 1e-6);
    assert.equal(span(zoomed), 1000);
  }
});

test('zooming stops at both ends', () => {
  let near = domain;
  let far = domain;
  for (let step = 0; step < 200; step += 1) {
    near = zoom(near, 0.5, 2000);
    far = zoom(far, 2, 2000);
  }
  assert.ok(Math.abs(span(near) - MIN_SPAN) < 1e-9);
  assert.ok(Math.abs(span(far) - MAX_SPAN) < 1);
});

test('panning moves both ends, fitting leaves air', () => {
  assert.deepEqual(pan(domain, 10), { from: 1010, to: 3010 });
  assert.deepEqual(fit(0, 100, 0.1), { from: -10, to: 110 });
  assert.ok(span(fit(5, 5)) > 0);
});

test('grid lines are round, inside, ascending and far enough apart at every zoom', () => {
  for (let length = MIN_SPAN; length < MAX_SPAN; length *= 1.7) {
    const shown = { from: 1_790_000_000_000, to: 1_790_000_000_000 + length };
    const { step, times } = ticks(shown, 800, 90, -90);
    assert.ok(times.length <= 10, `${times.length} lines at ${length} ms`);
    times.forEach((time, index) => {
      assert.ok(time >= shown.from - 1e-3 && time <= shown.to + 1e-3);
      if (index > 0) assert.ok(Math.abs(time - times[index - 1] - step) < 1e-3);
    });
  }
});

test('lines of hours and days stand on local hours and midnights', () => {
  const day = 86_400_000;
  const { step, times } = ticks({ from: 0, to: 3 * day }, 400, 90, -90);
  assert.equal(step, day);
  for (const time of times) assert.equal((time + 90 * 60_000) % day, 0);
});
