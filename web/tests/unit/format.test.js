import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clock, count, duration, endpoint, millis, plural, visible } from '../../assets/js/format.js';

test('durations keep three digits and change their unit at round values', () => {
  assert.deepEqual(
    [0, 0.42, 9.994, 9.996, 99.94, 99.96, 999.4, 999.6, 4012, 59_949, 59_950, 125_000, 3_725_000, -5].map(duration),
    ['0.000 ms', '0.420 ms', '9.99 ms', '10.0 ms', '99.9 ms', '100 ms', '999 ms', '1.00 s', '4.01 s', '59.9 s', '1 min 00 s', '2 min 05 s', '1 h 02 min', '−5.00 ms'],
  );
  assert.equal(duration(NaN), '—');
});

test('nanoseconds become milliseconds without losing microseconds', () => {
  const ms = millis('1790000000123456789');
  assert.equal(Math.floor(ms), 1_790_000_000_123);
  assert.ok(Math.abs((ms % 1) - 0.456789) < 0.0003);
  assert.equal(millis('500000'), 0.5);
});

test('a clock shows as many digits as asked for', () => {
  const ms = new Date(2026, 0, 2, 3, 4, 5, 67).getTime() + 0.25;
  assert.equal(clock(ms), '03:04:05.067');
  assert.equal(clock(ms, 0), '03:04:05');
  assert.equal(clock(ms, 1), '03:04:05.0');
  assert.equal(clock(ms, 6), '03:04:05.067250');
});

test('control, reordering and hidden characters become visible', () => {
  assert.equal(visible('nc'), 'nc');
  assert.equal(visible('a\u001b[31mb'), 'a‹U+001B›[31mb');
  assert.equal(visible('x\u202ey\u200bz\n\u007f\ufeff'), 'x‹U+202E›y‹U+200B›z‹U+000A›‹U+007F›‹U+FEFF›');
  assert.equal(visible('größe 日本 <b>'), 'größe 日本 <b>');
});

test('endpoints bracket IPv6 and leave out a port not yet chosen', () => {
  assert.equal(endpoint({ address: '203.0.113.7', port: 22 }), '203.0.113.7:22');
  assert.equal(endpoint({ address: '2001:db8::1', port: 22 }), '[2001:db8::1]:22');
  assert.equal(endpoint({ address: '10.0.0.1', port: 0 }), '10.0.0.1');
  assert.equal(endpoint(undefined), 'unknown');
});

test('counts are grouped and agree with their noun', () => {
  assert.equal(count(1234567), '1\u202f234\u202f567');
  assert.equal(plural(1, 'SYN'), '1 SYN');
  assert.equal(plural(2, 'SYN'), '2 SYNs');
});
