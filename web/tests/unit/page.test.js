import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OUTCOME_KEYS, outcome, outcomeKey, outcomeOf } from '../../assets/js/causes.js';
import { fieldNamed, seconds, traceRequest } from '../../assets/js/request.js';
import { formatRoute, parseRoute } from '../../assets/js/route.js';
import { tokenIn } from '../../assets/js/token.js';
import { View } from '../../assets/js/view.js';
import { BEGIN } from './events.js';

test('every outcome has a glyph of its own', () => {
  const glyphs = OUTCOME_KEYS.map((key) => outcomeOf(key).glyph);
  assert.equal(new Set(glyphs).size, glyphs.length);
  assert.equal(outcomeKey({ cause: 'something_new', state: 'failed' }), 'other');
  assert.equal(outcomeKey({ cause: 'toString', state: 'failed' }), 'other');
  assert.equal(outcome({ cause: null, state: 'established' }).label, 'connected');
});

test('what was typed becomes a request', () => {
  const typed = new Map(Object.entries({
    'filter.peer': '203.0.113.0/24, 2001:db8::1', 'filter.peer_port': '22 8000-9000', 'filter.comm': 'Web Content,nc',
    'filter.pid': 'x1', 'filter.family': '', slow_ms: '250', ttl_s: '15m', name: ' nightly ', starts: false, stacks: true, drops: true,
  }));
  assert.deepEqual(traceRequest(typed), {
    name: 'nightly', slow_ms: 250, ttl_s: 900, starts: false, stacks: true, drops: true,
    filter: { peer: ['203.0.113.0/24', '2001:db8::1'], peer_port: [22, '8000-9000'], comm: ['Web Content', 'nc'], pid: ['x1'] },
  });
  assert.deepEqual(traceRequest(new Map()), { starts: false, stacks: false, drops: false });
  assert.deepEqual(['90', '2h', '1 d', 'soon'].map(seconds), [90, 7200, 86_400, 'soon']);
});

test('a problem finds its field however it is named', () => {
  const names = ['filter.peer', 'filter.peer_port', 'slow_ms'];
  for (const field of ['filter.peer', 'filter.peer[1]', 'filter.peer.1', '/filter/peer', 'peer']) {
    assert.equal(fieldNamed(field, names), 'filter.peer');
  }
  assert.equal(fieldNamed('slow_ms', names), 'slow_ms');
  assert.equal(fieldNamed('nonsense', names), null);
  assert.equal(fieldNamed(undefined, names), null);
});

test('an address reproduces what is open', () => {
  assert.equal(formatRoute({ trace: 'k1', attempt: 1099511627777 }), 'trace=k1&attempt=1099511627777');
  assert.deepEqual(parseRoute('#trace=k1&attempt=1099511627777'), { trace: 'k1', attempt: 1099511627777 });
  assert.deepEqual(parseRoute('#attempt=x'), { trace: null, attempt: null });
});

test('a token is found in what people paste', () => {
  assert.equal(tokenIn(' http://127.0.0.1:7117/#token=abc-1 '), 'abc-1');
  assert.equal(tokenIn('#token=abc'), 'abc');
  assert.equal(tokenIn('abc'), 'abc');
  assert.equal(tokenIn('two words'), null);
  assert.equal(tokenIn(''), null);
});

test('following keeps now in sight, and a young trace fills from the left', () => {
  const view = new View(() => {});
  view.place(BEGIN, BEGIN + 1000, true);
  view.advance(BEGIN + 1000, BEGIN);
  const young = view.domain;
  view.advance(BEGIN + 9000, BEGIN);
  assert.deepEqual(view.domain, young);
  view.advance(BEGIN + 90_000, BEGIN);
  assert.ok(view.domain.to > BEGIN + 90_000);
  view.pan(-5000);
  const still = view.domain;
  view.advance(BEGIN + 120_000, BEGIN);
  assert.deepEqual(view.domain, still);
});
