// The main job: press Start, something fails to connect, the page shows it.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { browserTest, inNamespace, picture, reachStreams, screenshot, startTrace, withPage } from './harness.js';

const SILENT = 'exec nc -w 4 203.0.113.7 22';
/** Seconds at which the kernel sends a SYN again within 4 s; Linux 6.5 made the first intervals equal. */
const RETRANSMITS = existsSync('/proc/sys/net/ipv4/tcp_syn_linear_timeouts') ? [1, 2, 3] : [1, 3];

/**
 * Moves the pointer along the first lane and reads what the tooltip says of ticks.
 * @param {import('playwright-core').Page} page
 */
async function sweepTicks(page) {
  const box = await page.locator('#timeline').boundingBox();
  assert.ok(box);
  const seen = new Set();
  for (let x = 2; x < box.width; x += 4) {
    await page.mouse.move(box.x + x, box.y + 30 + 13);
    const tip = await page.locator('#tooltip').textContent();
    const tick = /SYN retransmit (\d+), (\S+ \S+) after the first/.exec(tip ?? '');
    if (tick) seen.add(`${tick[1]} at ${Math.round(parseFloat(tick[2]))} s`);
  }
  await page.mouse.move(5, 5);
  return [...seen];
}

/**
 * Ticks stand out above the bar: counts runs of their colour on that line of the first lane.
 * @param {import('playwright-core').Page} page
 */
function drawnTicks(page) {
  return page.evaluate(() => {
    const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById('timeline'));
    const probe = document.body.appendChild(document.createElement('span'));
    probe.style.color = 'var(--c-app)';
    const wanted = (getComputedStyle(probe).color.match(/\d+/g) ?? []).map(Number);
    probe.remove();
    const pixels = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d')).getImageData(0, 36, canvas.width, 1).data;
    let runs = 0;
    let inside = false;
    for (let at = 0; at < pixels.length; at += 4) {
      const same = pixels[at + 3] > 200 && wanted.every((value, channel) => Math.abs(pixels[at + channel] - value) < 24);
      if (same && !inside) runs += 1;
      inside = same;
    }
    return runs;
  });
}

browserTest('a connect to a silent peer appears while it lasts, with ticks, outcome, owner and stacks', () => withPage(async (page, server) => {
  await startTrace(page, server);
  assert.equal(new URL(page.url()).hash.includes('token'), false, 'the token leaves the address bar');
  await page.locator('#nothing', { hasText: 'Watching.' }).waitFor();

  // The first event of a server waits until the kernel's symbols are read.
  await inNamespace('nc -w 1 10.99.0.1 9; exit 0');
  await page.locator('#rows tr[data-ordinal="0"]', { hasText: 'refused' }).waitFor();
  const done = inNamespace(SILENT);
  const row = page.locator('#rows tr[data-ordinal="1"]');
  await row.waitFor();
  assert.match(await row.innerText(), /pending\s+203\.0\.113\.7:22\s+nc \d+\s+×\d/);
  await done;
  await row.filter({ hasText: 'gave up' }).waitFor();
  assert.match(await row.innerText(), /gave up\s+203\.0\.113\.7:22\s+nc \d+\s+×\d\s+4\.\d+ s/);

  await page.getByRole('combobox', { name: 'Filter' }).fill('port=22');
  await page.waitForFunction(() => document.querySelectorAll('#rows tr[data-ordinal]').length === 1);
  await page.getByRole('button', { name: 'Fit' }).click();
  assert.deepEqual(await sweepTicks(page), RETRANSMITS.map((second, index) => `${index + 1} at ${second} s`));
  assert.equal(await drawnTicks(page), RETRANSMITS.length);

  await row.click();
  const drawer = page.locator('#drawer');
  await drawer.locator('.sentence', { hasText: /gave up on 203\.0\.113\.7:22 after 4\.\d s/ }).waitFor();
  assert.deepEqual(await drawer.locator('.steps tbody th').allInnerTexts(), ['SYN', ...RETRANSMITS.map((_, index) => `SYN again (${index + 1})`), 'gave up']);
  assert.match(await drawer.innerText(), /Local\s+10\.99\.0\.1:\d+/);
  assert.match(await drawer.innerText(), /Process\s+\d+/);
  assert.match(await drawer.innerText(), /Executable\s+\/\S+/);
  assert.match(await drawer.innerText(), /Started by\s+\S+ \(\d+\)/);
  assert.ok(await drawer.locator('section', { hasText: 'User stack' }).locator('.stack li').count() > 0, 'a user stack');
  const kernel = drawer.locator('section', { hasText: 'Kernel stack' });
  assert.equal(await kernel.locator('details').count(), RETRANSMITS.length + 1, 'a kernel stack for each event');
  assert.ok(await kernel.locator('.stack .function', { hasText: /tcp_/ }).count() > 0, 'named kernel functions');
  await screenshot(page, 'drawer');
}));

/** Connects that end in as many ways as a namespace of its own allows. */
const MANY_WAYS = `
  ip addr add fd00:99::1/128 dev lo
  echo 2 > /proc/sys/net/ipv4/tcp_syn_retries
  nc 203.0.113.7 22 &
  sleep 0.5; nc -w 5 203.0.113.80 6379 &
  sleep 0.4; nc -w 1 10.99.0.1 5432
  sleep 0.2; nc -w 1 fd00:99::1 443
  (sh -c 'echo $$ > /proc/self/comm; exec nc -w 9 203.0.113.9 3306') & victim=$!
  nc -l -p 8443 >/dev/null & listener=$!
  nc -w 6 203.0.113.44 8443 </dev/null &
  sleep 1.6; ip addr add 203.0.113.44/32 dev lo
  nc -w 1 10.99.0.1 5432
  sleep 0.9; kill -9 $victim
  nc -w 3 203.0.113.120 443 &
  sleep 0.7; nc -w 1 10.99.0.1 5433
  wait`;

browserTest('many outcomes together, in light and dark, wide and narrow', () => withPage(async (page, server) => {
  await startTrace(page, server, { name: 'incident 4711' });
  const done = inNamespace(MANY_WAYS);
  await page.locator('#rows tr', { hasText: 'refused' }).first().waitFor();
  await page.locator('#rows tr', { hasText: 'killed' }).first().waitFor();
  const late = page.locator('#rows tr', { hasText: '203.0.113.44' });
  await late.filter({ hasText: 'connected' }).waitFor();
  const first = page.locator('#rows tr', { hasText: '203.0.113.7:22' });
  await screenshot(page, 'live');
  await first.filter({ hasText: 'timed out' }).waitFor();
  await done;
  await page.getByRole('button', { name: 'Fit' }).click();
  await first.click();
  await page.locator('#drawer .sentence').waitFor();
  await page.mouse.move(5, 5);
  await page.setViewportSize({ width: 1280, height: 640 });
  await screenshot(page, 'timeline');
  const session = await page.context().newCDPSession(page);
  for (const type of /** @type {const} */ (['protanopia', 'deuteranopia', 'tritanopia', 'achromatopsia'])) {
    await session.send('Emulation.setEmulatedVisionDeficiency', { type });
    await picture(page, `seen-with-${type}`);
  }
  await session.send('Emulation.setEmulatedVisionDeficiency', { type: 'none' });
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: 'dark' });
  await screenshot(page, 'dark');
  await page.setViewportSize({ width: 390, height: 844 });
  await screenshot(page, 'narrow-drawer-dark');
  await page.locator('#drawer .close').click();
  await screenshot(page, 'narrow-dark');
  await page.emulateMedia({ colorScheme: 'light' });
  await screenshot(page, 'narrow');
  await page.setViewportSize({ width: 1920, height: 1080 });
  await screenshot(page, 'wide');
  await page.setViewportSize({ width: 390, height: 844 });
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${overflow} px wider than the screen`);
}));

browserTest('a refused connect is diagnosed, and says what is around it', () => withPage(async (page, server) => {
  await startTrace(page, server);
  await inNamespace('nc -p 40123 -w 1 10.99.0.1 9; nc -p 40123 -w 1 10.99.0.1 10; exit 0');
  const drawer = page.locator('#drawer');
  await page.locator('#rows tr[data-ordinal="1"]').click();
  await drawer.locator('.sentence', { hasText: /^10\.99\.0\.1:10 refused with RST after \S+ (ms|µs)/ }).waitFor();
  assert.match(await drawer.locator('.next').innerText(), /ss -ltn 'sport = :10' shows/);
  assert.match(await drawer.innerText(), /Port before\s+nc \(\d+\) → 10\.99\.0\.1:9, refused at /);
  await screenshot(page, 'refused');
  await drawer.getByRole('button', { name: 'show it' }).click();
  await drawer.locator('.sentence', { hasText: '10.99.0.1:9 refused' }).waitFor();
}));

browserTest('challenges, drops and events without an attempt are shown', () => withPage(async (page, server) => {
  const streams = await reachStreams(page);
  await startTrace(page, server);
  const at = Date.now();
  const told = (/** @type {number} */ seq, /** @type {string} */ name, /** @type {number} */ after, /** @type {object} */ connect, /** @type {object} */ rest = {}) => ({
    seq, event: name, time_unix_nano: `${at + after}000000`, attempt: 1, process: { pid: 7, comm: 'nc' },
    network: { type: 'ipv4', local: { address: '10.0.0.5', port: 40000 }, peer: { address: '203.0.113.7', port: 22 } },
    tcp: { connect: { start_unix_nano: `${at}000000`, ...connect } }, ...rest,
  });
  await streams.tell({ type: 'events', events: [
    told(1, 'skb.drop', 300, { drop_reason: 'NETFILTER_DROP' }),
    told(2, 'connect.challenge', 1000, { challenges: 1, stale_peer: true }, {
      twin: { local: { address: '127.0.0.1', port: 15001 }, peer: { address: '10.0.0.5', port: 40000 }, state: 'FIN-WAIT-2', evidence: 'translated', pid: 9, comm: 'envoy' },
    }),
    told(3, 'connect.failed', 2000, { cause: 'closed_by_app' }),
    told(4, 'accept.retransmit', 2000, {}, { attempt: undefined, process: {}, other_end: { attempt: 1, netns: 1 }, diagnosis: { summary: '<i>unanswered</i>', next: '' } }),
  ] });
  await page.locator('#rows tr[data-ordinal="0"]').click();
  await page.getByRole('button', { name: 'Fit' }).click();
  const drawer = page.locator('#drawer');
  assert.deepEqual(await drawer.locator('.steps tbody th').allInnerTexts(), ['SYN', 'packet dropped: NETFILTER_DROP', 'challenge ACK', 'gave up']);
  assert.match(await drawer.innerText(), /the other end is held by envoy \(9\), FIN-WAIT-2/);
  await page.locator('#strays summary', { hasText: '1 SYN-ACK sent again' }).click();
  await page.locator('#strays li', { hasText: '<i>unanswered</i>' }).waitFor();
  const box = await page.locator('#timeline').boundingBox();
  assert.ok(box);
  const tips = new Set();
  for (let x = 2; x < box.width; x += 3) {
    await page.mouse.move(box.x + x, box.y + 43);
    tips.add((await page.locator('#tooltip').innerText()).split('\n')[1]);
  }
  assert.ok([...tips].some((tip) => /^challenge ACK, 1\.00 s after/.test(tip)), [...tips].join());
  assert.ok([...tips].some((tip) => /^packet dropped: NETFILTER_DROP, 300 ms after/.test(tip)), [...tips].join());
  await screenshot(page, 'marks');
}));

browserTest('text from the kernel stays text', () => withPage(async (page, server) => {
  await startTrace(page, server, { 'filter.comm': '' });
  await inNamespace(`
    directory=$(mktemp -d)
    hostile=$(printf '<b>\\033[31m\\342\\200\\256x')
    ln -s "$(command -v nc)" "$directory/$hostile"
    "$directory/$hostile" -w 1 10.99.0.1 9
    rm -r "$directory"`);
  const row = page.locator('#rows tr[data-ordinal="0"]');
  await row.waitFor();
  assert.equal(await row.locator('.comm').textContent(), '<b>‹U+001B›[31m‹U+202E›x');
}));

browserTest('fingers pan, pinch and tap', () => withPage(async (page, server) => {
  await startTrace(page, server);
  await inNamespace('for port in 1 2 3; do nc -w 1 10.99.0.1 $port; done; exit 0');
  await page.locator('#rows tr[data-ordinal="2"]').waitFor();
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.locator('#follow', { hasText: 'Recorded' }).waitFor();
  const session = await page.context().newCDPSession(page);
  const box = await page.locator('#list').boundingBox();
  assert.ok(box);
  /** @param {number[][]} steps places of the fingers, in pixels from the list's left edge */
  const fingers = async (steps) => {
    const points = (/** @type {number[]} */ places) => places.map((x, id) => ({ x: box.x + x, y: box.y + 200 + id * 40, id }));
    await session.send('Input.dispatchTouchEvent', { type: 'touchStart', touchPoints: points(steps[0]) });
    for (const places of steps) await session.send('Input.dispatchTouchEvent', { type: 'touchMove', touchPoints: points(places) });
    await session.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] });
  };
  const seen = () => page.evaluate(() => Object.fromEntries(new URLSearchParams(location.hash.slice(1))));
  await page.waitForFunction(() => /from=/.test(location.hash));
  const before = await seen();
  await fingers([[200], [170], [140], [100]]);
  await page.waitForFunction((from) => new URLSearchParams(location.hash.slice(1)).get('from') !== from, before.from);
  const panned = await seen();
  assert.ok(Number(panned.from) > Number(before.from), 'to the left is later');
  assert.ok(Math.abs((Number(panned.to) - Number(panned.from)) / (Number(before.to) - Number(before.from)) - 1) < 0.01, 'without zooming');
  await fingers([[150, 230], [120, 260], [90, 290]]);
  await page.waitForFunction((from) => new URLSearchParams(location.hash.slice(1)).get('from') !== from, panned.from);
  const pinched = await seen();
  assert.ok(Number(pinched.to) - Number(pinched.from) < (Number(panned.to) - Number(panned.from)) * 0.8, 'apart is closer');
  // Chromium takes a tap at once after a pinch for an end of its momentum, and makes no click of it.
  await page.waitForTimeout(600);
  await page.locator('#rows tr[data-ordinal="1"]').tap();
  await page.locator('#drawer .sentence', { hasText: '10.99.0.1:2 refused' }).waitFor();
}, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }));
