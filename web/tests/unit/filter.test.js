import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AttemptStore } from '../../assets/js/attempts.js';
import { suggest } from '../../assets/js/complete.js';
import { compileFilter, filterFor, frequent, narrowed, quoted, termsOf } from '../../assets/js/filter.js';
import { addressBits, holds } from '../../assets/js/network.js';
import { BEGIN, event, nano } from './events.js';

/** @typedef {import('../../types/wire').FilterField} Field */

/** As `GET /api/v1/filter/fields` tells them. @type {Field[]} */
const FIELDS = [
  ['text', 'text', '', ['=', '~']], ['outcome', 'word', 'state', ['=', '~']], ['cause', 'word', 'tcp.connect.cause', ['=', '~']], ['error', 'text', 'error.type', ['=', '~']],
  ['peer', 'network', 'network.peer.address', ['=']], ['port', 'number', 'network.peer.port', ['=', '>']], ['duration', 'duration', 'duration_ms', ['=', '>']],
  ['stale_peer', 'flag', 'tcp.connect.stale_peer', ['=']], ['since', 'time', 'start_unix_nano', ['=']], ['until', 'time', 'start_unix_nano', ['=']],
  ['comm', 'text', 'process.comm', ['=', '~']], ['container', 'text', 'container.id', ['=', '~']], ['attempt', 'number', 'attempt', ['=']],
].map(([name, kind, path, operators]) => /** @type {Field} */ ({ name, kind, path, operators, meaning: `the ${name}` }));
FIELDS[0].searches = ['cause', 'comm', 'container'];
FIELDS[2].values = ['refused', 'timeout'];

const store = new AttemptStore();
store.take(event(1, 1, 'connect.failed', 3, { cause: 'refused', stale_peer: true }, { error: { type: 'ECONNREFUSED' }, network: { peer: { address: '10.1.2.3', port: 443 } } }));
store.take(event(2, 2, 'connect.failed', 9000, { cause: 'timeout', start_unix_nano: nano(BEGIN + 1000) }, {
  network: { peer: { address: '2001:db8::5', port: 8443 } }, process: { pid: 9, comm: 'Web Content' }, container: { id: 'abc' },
}));
store.take(event(3, 3, 'connect.retransmit', 2000, { start_unix_nano: nano(BEGIN + 2000), stale_peer: false }, { network: { peer: { address: '10.200.0.1', port: 22 } } }));
const all = store.list();
const NOW = BEGIN + 10_000;

/** Which of the three a term means. @param {string} field @param {string} op @param {import('../../types/wire').FilterValue[]} values @param {boolean} [not] */
function meant(field, op, values, not = false) {
  const fits = compileFilter([{ field, op, not, values, start: 0, end: 0 }], FIELDS);
  return all.filter((attempt) => fits?.(attempt, NOW)).map(({ id }) => id).join('');
}

test('each kind of value is compared as the server compares it', () => {
  assert.equal(compileFilter([], FIELDS), null);
  assert.equal(meant('outcome', '=', ['pending']), '3');
  assert.equal(meant('cause', '=', ['refused', 'timeout']), '12');
  assert.equal(meant('cause', '~', ['TIME']), '2');
  assert.equal(meant('error', '=', ['ECONNREFUSED']), '1');
  assert.equal(meant('comm', '=', ['web content']), '', 'exactly');
  assert.equal(meant('comm', '~', ['web c']), '2');
  assert.equal(meant('port', '=', [{ from: 400, to: 500 }, 22]), '13');
  assert.equal(meant('port', '>', [443]), '2');
  assert.equal(meant('duration', '>', [5000]), '23', 'what is pending takes until now');
  assert.equal(meant('stale_peer', '=', [false]), '3');
  assert.equal(meant('peer', '=', ['10.0.0.0/8']), '13');
  assert.equal(meant('peer', '=', ['10.128.0.0/9', '2001:db8::/32']), '23');
  assert.equal(meant('since', '=', [{ ago_ms: 9000 }]), '23');
  assert.equal(meant('until', '=', [{ unix_nano: nano(BEGIN + 1000) }]), '12');
  assert.equal(meant('attempt', '=', [2]), '2');
  assert.equal(meant('text', '~', ['ABC']), '2', 'a bare word is looked for in several');
});

test('what is not known fits nothing, so that its opposite fits', () => {
  assert.equal(meant('container', '=', ['abc'], true), '13');
  assert.equal(meant('stale_peer', '=', [true], true), '23');
  assert.equal(meant('brand_new', '=', ['x']), '');
  assert.equal(meant('brand_new', '=', ['x'], true), '123');
});

test('addresses are read in every form, and networks end within a group', () => {
  const inside = (/** @type {string} */ network, /** @type {number} */ prefix, /** @type {string} */ address) => holds(/** @type {Uint16Array} */ (addressBits(network)), prefix, address);
  assert.deepEqual([inside('::', 0, '::1'), inside('::1', 128, '::1'), inside('::1', 128, '::2'), inside('fe80::', 10, 'febf::1'), inside('fe80::', 10, 'fec0::')], [true, true, false, true, false]);
  assert.deepEqual([inside('0.0.0.0', 0, '9.9.9.9'), inside('10.0.0.0', 7, '11.1.1.1'), inside('10.0.0.0', 8, '11.1.1.1'), inside('0.0.0.0', 0, '::1')], [true, true, false, false]);
  assert.equal(inside('64:ff9b::102:304', 128, '64:ff9b::1.2.3.4'), true);
  assert.deepEqual(['1.2.3', '1.2.3.256', '1:2', 'nonsense', ':::'].map(addressBits), [null, null, null, null, null]);
});

test('fields, operators and values are suggested for the word at the caret', () => {
  const offered = (/** @type {string} */ text, caret = text.length) => {
    const { from, to, options } = suggest(text, caret, FIELDS, () => ['curl', '"Web Content"']);
    return options.map((option) => text.slice(0, from) + option.text + text.slice(to));
  };
  assert.deepEqual(offered('port=1 co'), ['port=1 comm=', 'port=1 container=']);
  assert.deepEqual(offered('-ca'), ['-cause=']);
  assert.deepEqual(offered('cause!=ref'), ['cause!=refused']);
  assert.deepEqual(offered('cause=refused,'), ['cause=refused,refused', 'cause=refused,timeout']);
  assert.deepEqual(offered('cause=refused'), [], 'nothing when it is complete');
  assert.deepEqual(offered('comm="web'), ['comm="Web Content"']);
  assert.deepEqual(offered('stale_peer='), ['stale_peer=true', 'stale_peer=false']);
  assert.deepEqual(offered('nosuch='), []);
  assert.deepEqual(offered('ca port=1', 2), ['cause= port=1']);
  assert.deepEqual(['', 'ca', 'closed', 'cause='].map((text) => suggest(text, text.length, FIELDS, () => []).naming), [false, true, false, false]);
});

test('what attempts have is offered, the most frequent first', () => {
  assert.deepEqual(frequent(store, FIELDS[10]), ['nc', '"Web Content"']);
  assert.deepEqual(frequent(undefined, FIELDS[10]), []);
});

test('a filter for an attempt, and the terms to narrow by', () => {
  assert.equal(filterFor(all[1]), 'cause=timeout peer=2001:db8::5 port=8443 comm="Web Content"');
  assert.equal(filterFor(all[2]), 'outcome=pending peer=10.200.0.1 port=22 comm=nc');
  assert.equal(termsOf(all[1]).container, 'container=abc');
  assert.equal(narrowed(' port=1 ', 'comm=nc', true), 'port=1 -comm=nc');
  assert.equal(narrowed('port=1 comm=nc', 'comm=nc', false), 'port=1 comm=nc', 'not said twice');
  assert.deepEqual(['a\\', 'a"b', ''].map(quoted), ['a\\', '"a\\"b"', '""']);
});
