// Looking at many attempts: overview, groups, folds, filters, and links that reproduce a view.

import assert from 'node:assert/strict';
import { TOKEN, browserTest, inNamespace, screenshot, startTrace, withPage } from './harness.js';

browserTest('dragging over the overview chooses a stretch, clicking moves it', () => withPage(async (page, server) => {
  await startTrace(page, server);
  await inNamespace('for port in 1 2 3; do nc -w 1 10.99.0.1 $port; sleep 0.3; done; exit 0');
  await page.locator('#rows tr[data-ordinal="2"]').waitFor();
  const box = await page.locator('#overview').boundingBox();
  assert.ok(box);
  const inked = await page.evaluate(() => {
    const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById('overview'));
    const { data } = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')).getImageData(0, canvas.height - 21, canvas.width, 1);
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

browserTest('storms fold and unfold, groups collapse, filters hide, ranges are chosen and fitted', () => withPage(async (page, server) => {
  await startTrace(page, server, { name: 'nightly batch' });
  await inNamespace('for n in 1 2 3 4 5 6 7 8; do nc -w 1 10.99.0.1 9; sleep 0.1; done; nc -w 1 10.99.0.1 10; nc -w 2 203.0.113.7 22; exit 0');
  const storm = page.locator('#rows tr.storm');
  await storm.filter({ hasText: /×8 refused, every \d+ ms · 10\.99\.0\.1:9 · nc/ }).waitFor();
  await page.locator('#rows tr', { hasText: '203.0.113.7:22' }).filter({ hasText: 'gave up' }).waitFor();
  assert.equal(await page.locator('#rows tr[data-ordinal]').count(), 2);
  await page.getByRole('button', { name: 'Fit' }).click();
  await screenshot(page, 'storm');
  await storm.click();
  await page.locator('#rows tr[data-ordinal="7"]').waitFor();
  assert.equal(await storm.getByRole('button', { name: /^Fold ×8/ }).getAttribute('aria-expanded'), 'true');
  await storm.focus();
  await page.keyboard.press('Enter');
  await page.locator('#rows tr[data-ordinal="7"]').waitFor({ state: 'detached' });

  await page.locator('#group').selectOption('cause');
  const groups = page.locator('#rows tr.group');
  assert.deepEqual((await groups.locator('.label').allInnerTexts()), ['refused', 'gave up']);
  await groups.nth(1).getByRole('button', { name: 'Pin to the top' }).click();
  await page.waitForFunction(() => document.querySelector('#rows tr.group .label')?.textContent === 'gave up');
  await page.locator('#sort').selectOption('-failures');
  await page.setViewportSize({ width: 1280, height: 420 });
  await screenshot(page, 'groups');
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.locator('#group').selectOption('');

  await page.keyboard.press('Escape');
  await page.locator('#timeline').focus();
  await page.keyboard.press('/');
  await page.keyboard.type('port=10 -cause=timeout');
  await page.waitForFunction(() => document.querySelectorAll('#rows tr[data-ordinal]').length === 1);
  await page.locator('#filter').fill('nothing-like-it');
  await page.locator('#nothing', { hasText: 'The filter hides all 10 attempts.' }).waitFor();
  await page.locator('#filter').fill('');
  await page.locator('#filter').press('Escape');

  const box = await page.locator('#timeline').boundingBox();
  assert.ok(box);
  const before = await page.locator('#span').textContent();
  await page.mouse.move(box.x + 100, box.y + 10);
  await page.mouse.down();
  await page.mouse.move(box.x + 200, box.y + 10, { steps: 3 });
  await page.mouse.up();
  assert.equal(await page.locator('#span').textContent(), before, 'choosing alone moves nothing');
  await page.keyboard.press('f');
  await page.waitForFunction((text) => document.getElementById('span')?.textContent !== text, before);
}));

browserTest('a link reproduces what is looked at, an attempt can be copied, colours be chosen', () => withPage(async (page, server) => {
  await startTrace(page, server);
  await inNamespace('for port in 1 2 3; do nc -w 1 10.99.0.1 $port; done; exit 0');
  await page.locator('#rows tr[data-ordinal="2"]').click();
  await page.locator('#group').selectOption('peer');
  await page.locator('#filter').fill('port!=1');
  await page.getByRole('button', { name: 'Fit' }).click();
  await page.waitForFunction(() => /from=.*group=peer.*filter=port/.test(location.hash));
  const [link, span] = [page.url(), await page.locator('#span').textContent()];

  const drawer = page.locator('#drawer');
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await drawer.getByRole('button', { name: 'Copy curl' }).click();
  await drawer.getByText('copied').waitFor();
  const curl = await page.evaluate(() => navigator.clipboard.readText());
  const [, url] = /'(http[^']+)'/.exec(curl) ?? [];
  const answer = await page.request.get(url, { headers: { Authorization: `Bearer ${TOKEN}` } });
  assert.equal((await answer.json()).events[0].network.peer.port, 3, 'the call that was copied answers with the attempt');
  assert.equal(await drawer.locator('.sequence .sign').count(), 2, 'a SYN and its answer are drawn');

  await page.goto('about:blank');
  await page.goto(link);
  await drawer.locator('.sentence', { hasText: '10.99.0.1:3 refused' }).waitFor();
  assert.equal(await page.locator('#span').textContent(), span);
  assert.deepEqual(await page.locator('#rows tr.group .label').allInnerTexts(), ['10.99.0.1:2', '10.99.0.1:3']);

  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await paper();
  const look = page.getByRole('button', { name: 'Dark or light' });
  await look.click();
  assert.equal(await paper(), light, 'light by choice');
  await look.click();
  assert.notEqual(await paper(), light);
  await page.reload();
  await drawer.waitFor();
  assert.notEqual(await paper(), light, 'the choice stays');
  await page.route('**/js/main.js', () => {});
  await page.reload({ waitUntil: 'commit' });
  await page.waitForFunction(() => document.styleSheets.length > 5);
  assert.notEqual(await paper(), light, 'before any module has run, too');
}));

browserTest('the filter is read by the server: completed, marked where it is wrong, and of one mind with the API', () => withPage(async (page, server, complaints) => {
  await startTrace(page, server);
  await inNamespace('for port in 1 2 3; do nc -w 1 10.99.0.1 $port; done; nc -w 2 203.0.113.7 22; exit 0');
  await page.locator('#rows tr', { hasText: '203.0.113.7:22' }).filter({ hasText: 'gave up' }).waitFor();
  // They may arrive when something has been typed already.
  await page.route('**/api/v1/filter/fields', async (route) => {
    await new Promise((done) => { setTimeout(done, 1000); });
    await route.continue();
  });
  const filter = page.getByRole('combobox', { name: 'Filter' });
  await filter.click();
  await page.keyboard.type('ca');
  await page.getByRole('option', { name: 'cause=' }).waitFor();
  await screenshot(page, 'completion');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.keyboard.type('clo');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Tab');
  assert.equal(await filter.inputValue(), 'cause=closed_by_app');
  const shown = page.locator('#rows tr[data-ordinal]');
  await page.waitForFunction(() => document.querySelectorAll('#rows tr[data-ordinal]').length === 1);

  await filter.fill('port=1 peer=10.99.0.300');
  await page.locator('#filter-problem mark', { hasText: '10.99.0.300' }).waitFor();
  assert.match(await page.locator('#filter-problem').innerText(), /no address and no network.*192\.0\.2\.1/s);
  assert.equal(await shown.count(), 1, 'the last filter still applies');
  await screenshot(page, 'filter-problem');

  const id = await page.evaluate(() => new URLSearchParams(location.hash.slice(1)).get('trace'));
  for (const text of ['', 'peer=10.99.0.0/16', 'port=2-22', '-cause=refused', 'duration>1s', 'comm~N since=-1h', 'closed', 'retransmits>=1', 'stale_peer=false', 'error!=ECONNREFUSED', 'family=ipv4 port!=1,2']) {
    const answer = await page.request.get(`${server.url.replace(/#.*/, '')}api/v1/traces/${id}/attempts?filter=${encodeURIComponent(text)}`, { headers: { Authorization: `Bearer ${TOKEN}` } });
    const { attempts } = await answer.json();
    await filter.fill(text);
    await page.waitForFunction((wanted) => new URLSearchParams(location.hash.slice(1)).get('filter') === (wanted || null), text);
    const peers = (await shown.locator('.c-peer').allInnerTexts()).sort();
    const wanted = attempts.map((/** @type {any} */ { network: { peer } }) => `${peer.address}:${peer.port}`).sort();
    assert.deepEqual(peers, wanted, text);
  }
  complaints.length = 0; // Chromium logs every answer of 4xx.
}));

browserTest('columns sort, and what an attempt has narrows the filter, by mouse and by keyboard', () => withPage(async (page, server) => {
  await startTrace(page, server);
  await inNamespace('for port in 3 1 2; do nc -w 1 10.99.0.1 $port; done; nc -w 1 203.0.113.7 22; exit 0');
  await page.locator('#rows tr', { hasText: '203.0.113.7:22' }).filter({ hasText: 'gave up' }).waitFor();
  const peers = () => page.locator('#rows tr[data-ordinal] .c-peer').allInnerTexts();
  const head = page.getByRole('columnheader', { name: 'Peer' });
  await head.getByRole('button').focus();
  await page.keyboard.press('Enter');
  assert.equal(await head.getAttribute('aria-sort'), 'ascending');
  await page.waitForFunction(() => document.querySelector('#rows tr[data-ordinal] .c-peer')?.textContent === '10.99.0.1:1');
  assert.deepEqual(await peers(), ['10.99.0.1:1', '10.99.0.1:2', '10.99.0.1:3', '203.0.113.7:22']);
  await page.getByRole('columnheader', { name: 'Took' }).getByRole('button').click();
  await page.waitForFunction(() => document.querySelector('#rows tr[data-ordinal] .c-peer')?.textContent === '203.0.113.7:22');
  await page.waitForFunction(() => /sort=-took/.test(location.hash));
  const link = page.url();

  await page.locator('#rows tr', { hasText: '203.0.113.7:22' }).locator('.c-outcome').click({ button: 'right' });
  await page.getByRole('menuitem', { name: 'Not cause=closed_by_app' }).waitFor();
  await screenshot(page, 'menu');
  await page.getByRole('menuitem', { name: 'Not cause=closed_by_app' }).click();
  await page.waitForFunction(() => document.querySelectorAll('#rows tr[data-ordinal]').length === 3);
  assert.equal(await page.locator('#filter').inputValue(), '-cause=closed_by_app');
  await page.locator('#rows tr', { hasText: '10.99.0.1:2' }).focus();
  await page.keyboard.press('ContextMenu');
  await page.getByRole('menuitem', { name: 'Only cause=refused' }).waitFor();
  for (let step = 0; step < 4; step += 1) await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.querySelectorAll('#rows tr[data-ordinal]').length === 1);
  assert.equal(await page.locator('#filter').inputValue(), '-cause=closed_by_app port=2');

  await page.goto('about:blank');
  await page.goto(link);
  await page.locator('#rows tr[data-ordinal="3"]').waitFor();
  assert.equal((await peers())[0], '203.0.113.7:22', 'the link sorts as well');
}));

browserTest('what is read stays still while more is told, and live, paused and recorded look different', () => withPage(async (page, server) => {
  await startTrace(page, server);
  await inNamespace('for port in $(seq 1 40); do nc -w 1 10.99.0.1 $port; done; exit 0');
  await page.locator('#rows tr[data-ordinal="39"]').waitFor();
  const mode = page.locator('#follow');
  assert.equal(await mode.innerText(), 'Live');
  await page.locator('#list').hover();
  await page.mouse.wheel(0, -260);
  await mode.filter({ hasText: /^Paused$/ }).waitFor();
  const tops = () => page.locator('#rows tr[data-ordinal]').evaluateAll((rows) => rows.map((row) => `${/** @type {HTMLElement} */ (row).dataset.ordinal} ${row.getBoundingClientRect().top}`).slice(0, 15));
  const before = await tops();
  await inNamespace('for port in 50 51 52; do nc -w 1 10.99.0.1 $port; done; exit 0');
  await mode.filter({ hasText: 'Paused, +3 since' }).waitFor();
  assert.deepEqual(await tops(), before);
  await screenshot(page, 'paused');
  await mode.click();
  await page.locator('#rows tr[data-ordinal="42"]').waitFor();
  assert.equal(await mode.innerText(), 'Live');
  await page.getByRole('button', { name: 'Stop' }).click();
  await mode.filter({ hasText: 'Recorded' }).waitFor();
  assert.equal(await mode.isDisabled(), true);
}));

browserTest('who wants less motion gets a picture a second', async () => {
  /** @param {'reduce' | 'no-preference'} reducedMotion */
  const framesIn3s = async (reducedMotion) => {
    let frames = 0;
    await withPage(async (page, server) => {
      await page.addInitScript(() => {
        const clear = CanvasRenderingContext2D.prototype.clearRect;
        /** @type {any} */ (window).pictures = 0;
        CanvasRenderingContext2D.prototype.clearRect = function count(...where) {
          if (this.canvas.id === 'timeline') /** @type {any} */ (window).pictures += 1;
          clear.apply(this, where);
        };
      });
      await startTrace(page, server);
      const pictures = () => page.evaluate(() => /** @type {any} */ (window).pictures);
      const before = await pictures();
      await page.waitForTimeout(3000);
      frames = await pictures() - before;
    }, { reducedMotion });
    return frames;
  };
  const [calm, usual] = [await framesIn3s('reduce'), await framesIn3s('no-preference')];
  assert.ok(calm > 0 && calm * 2 < usual, `${calm} frames against ${usual}`);
});
