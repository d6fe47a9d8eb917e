// Traces as files: out of the page, and in again.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { browserTest, inNamespace, screenshot, startTrace, withPage } from './harness.js';

/** @param {import('playwright-core').Page} page @param {string} type @param {string} name @param {string} text */
async function drag(page, type, name, text) {
  const files = await page.evaluateHandle(([file, content]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([content], file));
    return transfer;
  }, [name, text]);
  await page.dispatchEvent('body', type, { dataTransfer: files });
}

browserTest('a trace goes out as a file of each kind, and comes back by being dropped', () => withPage(async (page, server, complaints) => {
  await startTrace(page, server, { name: 'the bad night' });
  await inNamespace('nc -w 1 10.99.0.1 9; nc -w 2 203.0.113.7 22; exit 0');
  await page.locator('#rows tr', { hasText: '203.0.113.7:22' }).filter({ hasText: 'gave up' }).waitFor();
  const told = await page.locator('#rows tr[data-ordinal]').allInnerTexts();
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.locator('#connection', { hasText: 'stopped' }).waitFor();
  const files = new Map();
  for (const label of [/^NDJSON/, /^CSV/, /^Chrome trace/]) {
    await page.getByRole('button', { name: 'Export' }).click();
    if (files.size === 0) {
      const [button, menu] = await Promise.all([page.getByRole('button', { name: 'Export' }), page.locator('#export-menu')].map((element) => element.boundingBox()));
      assert.ok(button && menu);
      assert.deepEqual([menu.x + menu.width, menu.y], [button.x + button.width, button.y + button.height + 4], 'the menu hangs from its button');
      await screenshot(page, 'export');
    }
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: label }).click()]);
    files.set(download.suggestedFilename().replace(/^.*\./, ''), readFileSync(await download.path(), 'utf8'));
    await page.locator('#export-menu').waitFor({ state: 'hidden' });
  }
  const events = files.get('ndjson').trim().split('\n').map((/** @type {string} */ line) => JSON.parse(line));
  const names = events.map((/** @type {any} */ { event }) => event);
  assert.deepEqual([names[0], names[1], names.at(-1)], ['connect.failed', 'connect.retransmit', 'connect.failed']);
  assert.equal(files.get('csv').trim().split('\n').length, 3, 'a head and two attempts');
  assert.ok(JSON.parse(files.get('json')).traceEvents.length > 1);

  await drag(page, 'dragenter', 'night.ndjson', '');
  await page.locator('#drop').waitFor();
  await screenshot(page, 'drop');
  await drag(page, 'drop', 'again.ndjson', files.get('ndjson'));
  await page.locator('#connection', { hasText: 'imported' }).waitFor();
  await page.locator('#rows tr', { hasText: 'gave up' }).waitFor();
  assert.deepEqual(await page.locator('#rows tr[data-ordinal]').allInnerTexts(), told);

  await page.getByRole('button', { name: 'Traces' }).click();
  await page.getByRole('row', { name: new RegExp(`again .* imported ${names.length}`) }).waitFor();
  await screenshot(page, 'traces');
  await page.getByRole('button', { name: 'the bad night' }).click();
  await page.locator('#connection', { hasText: 'stopped' }).waitFor();

  await drag(page, 'drop', 'broken.ndjson', '{"seq": 1}\n');
  await page.locator('#import-said', { hasText: /broken\.ndjson was not imported: .*line 1/ }).waitFor();
  await screenshot(page, 'import-refused');
  complaints.length = 0; // Chromium logs every answer of 4xx.
}));

browserTest('a flight recorder is armed, and ends by itself once its filter has matched', () => withPage(async (page, server) => {
  await page.goto(server.url);
  await page.getByText('Flight recorder').click();
  await page.fill('[name="filter.comm"]', 'nc');
  await page.fill('[name="recorder.filter"]', 'cause=refused');
  await page.fill('[name="recorder.after_s"]', '1');
  await screenshot(page, 'recorder');
  await page.getByRole('button', { name: 'Start', exact: true }).click();
  await page.locator('#connection', { hasText: 'armed' }).waitFor();
  await inNamespace('nc -w 1 10.99.0.1 9; exit 0');
  await page.locator('#rows tr', { hasText: 'refused' }).waitFor();
  await page.locator('#connection', { hasText: 'recorded what matched' }).waitFor();
}));
