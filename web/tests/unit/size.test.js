import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { test } from 'node:test';
import { brotliCompressSync, gzipSync } from 'node:zlib';

const ASSETS = new URL('../../assets/', import.meta.url);
const LIMIT = 60_000;

/** What is served: src/assets.rs empties lines that hold nothing but comments. @param {string} source */
function served(source) {
  return source.replace(/^[ \t]*(\/\/.*|\/\*(?:(?!\*\/)[^])*\*\/)[ \t]*$/gm, '');
}

test('all scripts and styles together stay small', (context) => {
  const sources = readdirSync(ASSETS, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(js|css)$/.test(name))
    .map((name) => served(readFileSync(new URL(name, ASSETS), 'utf8')));
  const total = (/** @type {(source: string) => { length: number }} */ compress) => sources.reduce((sum, source) => sum + compress(source).length, 0);
  const bytes = total((source) => brotliCompressSync(source));
  context.diagnostic(`${sources.length} files, compressed one by one: ${bytes} bytes by Brotli, ${total((source) => gzipSync(source, { level: 9 }))} by gzip`);
  assert.ok(bytes < LIMIT, `${bytes} bytes`);
});
