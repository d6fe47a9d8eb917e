import assert from 'node:assert/strict';
import { test } from 'node:test';
import { whereOf } from '../../assets/js/stack.js';

const address = '0x7f3a12345678';
const module = '/usr/lib/libc.so.6';
const build = { build_id: 'ab12', module_offset: 0x1234 };

test('a frame says where it is as well as it is known', () => {
  assert.equal(whereOf({ address, ...build, module, file: 'connect.c', line: 26 }), 'connect.c:26');
  assert.equal(whereOf({ address, ...build, module, file: 'connect.c' }), 'connect.c');
  assert.equal(whereOf({ address, ...build, module }), module);
  assert.equal(whereOf({ address, ...build }), 'build id ab12+0x1234');
  assert.equal(whereOf({ address }), undefined);
});
