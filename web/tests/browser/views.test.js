// Looking at many attempts: overview, groups, folds, filters, and links that reproduce a view.

import assert from 'node:assert/strict';
import { browserTest, inNamespace, screenshot, startTrace, withPage } from './harness.js';

browserTest('dragging over the overview chooses a stretch, clicking moves it', () => withPage(async (page, server) => {
  await startTrace(page, server);
  await inNamespace('for port in 1 2 3; do nc -w 1 10.99.0.1 $port; sleep 0.3; done; exit 0');
  await page.locator('#rows tr[data-ordinal="2"]').waitFor();
  const box = await page.locator('#overview').boundingBox();
  assert.ok(box);
  const inked = await page.evaluate(() => {
    const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById('overview'));
    const { data } = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')).getImageData(0, canvas.height - 6, canvas.width, 1);
    return data.filter((_, at) => at % 4 === 0 && data[at] > 180 && data[at + 1] < 100 && data[at + 3] > 200).length;
  });
  assert.ok(inked > 3, 'bars in the colour of refusals');
  await page.mouse.move(box.x + 200, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + 200 + box.width / 4, box.y + 20, { steps: 4 });
  await page.mouse.up();
  const span = await page.locator('#span').textContent();
  assert.match(span ?? '', /^2\.[5-9]\d s$/, 'a quarter of the ten seconds that are shown at least');
  assert.equal(await page.locator('#follow').getAttribute('aria-pressed'), 'false');
  await page.mouse.click(box.x + box.width - 30, box.y + 20);
  assert.equal(await page.locator('#span').textContent(), span);
  await screenshot(page, 'overview');
}));
