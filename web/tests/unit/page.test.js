import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AttemptStore } from '../../assets/js/attempts.js';
import { capabilityWords } from '../../assets/js/capabilities.js';
import { OUTCOME_KEYS, outcome, outcomeKey, outcomeOf } from '../../assets/js/causes.js';
import { asCurl, asJson } from '../../assets/js/copy.js';
import { fieldNamed, fieldProblem, seconds, traceRequest } from '../../assets/js/request.js';
import { formatRoute, parseRoute } from '../../assets/js/route.js';
import { stepsOf } from '../../assets/js/sequence.js';
import { tokenIn } from '../../assets/js/token.js';
import { View } from '../../assets/js/view.js';
import { BEGIN, event } from './events.js';

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
  const armed = traceRequest(new Map(Object.entries({ 'recorder.filter': ' cause=timeout ', 'recorder.before_s': '60', 'recorder.after_s': 'x' })));
  assert.deepEqual(armed.recorder, { filter: 'cause=timeout', before_s: 60, after_s: 'x' });
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

const look = { group: '', sort: 'told', fold: true, filter: '', range: null };

test('an address reproduces what is open', () => {
  assert.equal(formatRoute({ trace: 'k1', attempt: 1099511627777, look }), 'trace=k1&attempt=1099511627777');
  assert.deepEqual(parseRoute('#trace=k1&attempt=1099511627777'), { trace: 'k1', attempt: 1099511627777, look });
  assert.deepEqual(parseRoute('#attempt=x&group=constructor&sort=up&from=5&to=4'), { trace: null, attempt: null, look });
  const all = { trace: 'k1', attempt: null, look: { group: 'peer', sort: '-took', fold: false, filter: 'cause=refused "a b" #&=', range: { from: BEGIN + 0.25, to: BEGIN + 9 } } };
  assert.deepEqual(parseRoute(`#${formatRoute(all)}`), all);
});

test('what is plainly wrong is said before it is sent', () => {
  const wrong = (/** @type {string} */ name, /** @type {string[]} */ values) => values.filter((value) => fieldProblem(name, value) !== null);
  assert.deepEqual(wrong('filter.peer', ['', '10.0.0.1', '10.0.0.0/8, ::1', '2001:db8::/32', '10.0.0.256', '10.0.0.0/33', 'host', '::/129', '1.2.3.4/8/8']), ['10.0.0.256', '10.0.0.0/33', 'host', '::/129', '1.2.3.4/8/8']);
  assert.deepEqual(wrong('filter.peer_port', ['22 80', '8000-9000', '9000-8000', '65536', 'ssh']), ['9000-8000', '65536', 'ssh']);
  assert.deepEqual(wrong('filter.comm', ['nc, Web Content', 'sixteen-bytes-xx']), ['sixteen-bytes-xx']);
  assert.deepEqual(wrong('ttl_s', ['', '90', '2h', 'soon']), ['soon']);
  assert.deepEqual(wrong('filter.pid', ['1, 2', '-1']), ['-1']);
  assert.deepEqual(wrong('name', ['anything']), []);
});

test('capabilities are told with what they lack', () => {
  const check = (/** @type {string} */ status) => ({ name: 'x', status, found: '' });
  assert.equal(capabilityWords({ kernel: '6.1\u001b', works: true, checks: [check('ok')] }), 'Kernel 6.1‹U+001B› can tell everything');
  assert.equal(capabilityWords({ kernel: '6.1', works: true, checks: [check('ok'), check('limited')] }), 'Kernel 6.1: 1 limit');
  assert.equal(capabilityWords({ kernel: '6.1', works: false, checks: [check('missing')] }), 'Traces cannot run on kernel 6.1');
});

/** @param {...import('../../types/wire').TraceEvent} events */
function attemptOf(...events) {
  const store = new AttemptStore();
  for (const told of events) store.take(told);
  return /** @type {import('../../assets/js/attempts.js').Attempt} */ (store.at(0));
}

test('steps know which way they went, and which SYN was answered', () => {
  const steps = (/** @type {string} */ cause) => stepsOf(attemptOf(
    event(4, 1, 'connect.retransmit', 1000),
    event(5, 1, 'skb.drop', 1500, { drop_reason: 'NO\u202eROUTE' }),
    event(6, 1, 'connect.challenge', 2000),
    event(7, 1, 'connect.failed', 4000, { cause }),
  )).map(({ what, way, answered }) => [what, way, answered]);
  assert.deepEqual(steps('closed_by_app'), [
    ['SYN', 'out', false], ['SYN again (1)', 'out', false], ['packet dropped: NO‹U+202E›ROUTE', 'here', false], ['challenge ACK', 'in', false], ['gave up', 'here', false],
  ]);
  assert.deepEqual(steps('host_unreachable').at(-1), ['host unreachable', 'icmp', false]);
  assert.deepEqual(stepsOf(attemptOf(event(1, 1, 'connect.failed', 1, { cause: 'refused' }))).map(({ way, answered }) => [way, answered]), [['out', true], ['in', false]]);
});

test('an attempt can be taken along as JSON and as a call', () => {
  const attempt = attemptOf(event(4, 1, 'connect.retransmit', 1000), event(9, 1, 'connect.failed', 4000, { cause: 'timeout' }));
  assert.equal(asCurl(attempt, 'http://127.0.0.1:7117', 'k1'),
    'curl -H "Authorization: Bearer $SYNSCOPE_TOKEN" \'http://127.0.0.1:7117/api/v1/traces/k1/events?after=3&limit=6\'');
  const json = JSON.parse(asJson(attempt));
  assert.deepEqual([json.attempt, json.state, json.tcp.connect.cause, json.retransmits.length], [1, 'failed', 'timeout', 1]);
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
  view.advance(BEGIN + 9000, -Infinity);
  assert.deepEqual(view.domain, young, 'also while its beginning is not known');
  view.advance(BEGIN + 90_000, BEGIN);
  assert.ok(view.domain.to > BEGIN + 90_000);
  view.pan(-5000);
  const still = view.domain;
  view.advance(BEGIN + 120_000, BEGIN);
  assert.deepEqual(view.domain, still);
});
