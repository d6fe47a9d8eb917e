import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';

const ASSETS = new URL('../../assets/', import.meta.url);
const LIMIT = 60_000;

/** What is served: src/assets.rs empties lines that hold nothing but comments. @param {string} source */
function served(source) {
  return source.replace(/^[ \t]*(\/\/.*|\/\*(?:(?!\*\/)[^])*\*\/)[ \t]*$/gm, '');
}

test('all scripts and styles together stay small', (context) => {
  const sizes = readdirSync(ASSETS, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(js|css)$/.test(name))
    .map((name) => gzipSync(served(readFileSync(new URL(name, ASSETS), 'utf8')), { level: 9 }).length);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  context.diagnostic(`${sizes.length} files, ${total} bytes compressed one by one`);
  assert.ok(total < LIMIT, `${total} bytes`);
});
