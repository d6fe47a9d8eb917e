// How the page does with a recording of many attempts, and with many events a second: prints figures beside those of
// vis-timeline, judges nothing. `ATTEMPTS=100000 SECONDS=300 npm run bench`.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { TOKEN, browserTest, withPage } from '../tests/browser/harness.js';
import { feed, frames, installFeed, nextPaint, showVis } from './inpage.js';

const ATTEMPTS = Number(process.env.ATTEMPTS ?? 100_000);
const SECONDS = Number(process.env.SECONDS ?? 300);
const RATE = Number(process.env.RATE ?? 5000);
const VIS = createRequire(import.meta.url).resolve('vis-timeline/standalone/umd/vis-timeline-graph2d.min.js');
const GENERATOR = readFileSync(new URL('recording.js', import.meta.url), 'utf8').replaceAll('export ', '');
/** Frames as fast as they can be made, so that an interval is what a frame costs. */
const UNLIMITED = ['--disable-frame-rate-limit', '--disable-gpu-vsync', '--enable-precise-memory-info'];

/** @param {string} what @param {string} figure */
function print(what, figure) {
  console.log(`${what.padEnd(44)} ${figure}`);
}

/** @param {number} ms */
const whole = (ms) => `${ms.toFixed(0)} ms`;

/** @param {import('playwright-core').Page} page */
async function heap(page) {
  const session = await page.context().newCDPSession(page);
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  await session.detach();
  return usedSize / 2 ** 20;
}

/** @param {import('playwright-core').Page} page @param {string} what @param {string} how */
async function movement(page, what, how) {
  const { median, p95, worst } = await page.evaluate(frames, { how, count: 240 });
  print(what, `median ${median.toFixed(1)} ms, p95 ${p95.toFixed(1)} ms, worst ${worst.toFixed(0)} ms`);
}

/**
 * The page, with a trace whose stream the bench plays.
 * @param {import('playwright-core').Page} page @param {import('../tests/browser/harness.js').Server} server @param {boolean} live
 */
async function open(page, server, live) {
  const begin = Date.now() - (live ? 0 : 4_000_000);
  const counters = { produced: 0, delivered: 0, lost: { ringbuf: 0, queue: 0 }, attempts: { started: 0, established: 0, failed: 0, untracked: 0, quiet: 0 } };
  const trace = {
    id: 'bench', name: 'bench', state: live ? 'running' : 'stopped', end_reason: live ? null : 'requested', created_unix_nano: `${begin}000000`,
    ended_unix_nano: live ? null : `${Date.now()}000000`, events: { first_seq: 1, next_seq: 1 }, counters,
  };
  await page.route('**/api/v1/traces', (route) => route.fulfill({ json: { traces: [trace] } }));
  await page.route('**/api/v1/traces/bench', (route) => route.fulfill({ json: trace }));
  await page.addInitScript({ content: `${GENERATOR}\nwindow.benchEvents = events; (${installFeed})();` });
  await page.goto(`${server.url.replace(/#.*/, '')}#token=${TOKEN}`);
  await page.locator('#connection', { hasText: live ? 'live' : /live|stopped/ }).waitFor();
  return begin;
}

browserTest(`a recording of ${ATTEMPTS} attempts`, () => withPage(async (page, server) => {
  const begin = await open(page, server, false);
  const { events, bytes, busy, longest, painted } = await page.evaluate(feed, { attempts: ATTEMPTS, begin });
  print(`${ATTEMPTS} attempts, ${events} events, ${(bytes / 1e6).toFixed(0)} MB of JSON`, `taken in within ${whole(busy)}, ${whole(longest)} at most at once`);
  print('first paint of everything after the last of it', whole(painted));
  print('heap', `${(await heap(page)).toFixed(0)} MiB`);
  const button = page.getByRole('button', { name: 'Fit' });
  await button.click();
  for (const how of ['zoom', 'pan']) await movement(page, `storms folded, ${how}`, how);
  await page.locator('#fold').uncheck();
  await button.click();
  for (const how of ['zoom', 'pan', 'scroll']) await movement(page, `one by one, ${how}`, how);
  await page.locator('#group').selectOption('peer');
  await page.locator('#fold').check();
  await button.click();
  for (const how of ['zoom', 'pan', 'scroll']) await movement(page, `grouped by peer, ${how}`, how);
  const asked = await page.evaluate(nextPaint, 'cause:timeout');
  print('a filter typed, until it is painted', whole(asked));
}, { arguments: UNLIMITED }), { timeout: 600_000 });

browserTest(`${RATE} events a second for ${SECONDS} s`, () => withPage(async (page, server) => {
  await open(page, server, true);
  await page.evaluate(({ rate }) => /** @type {any} */ (window).benchLive(rate), { rate: RATE });
  for (let second = 30; second <= SECONDS; second += 30) {
    await page.waitForTimeout(30_000);
    const { told, busy, peak } = await page.evaluate(() => /** @type {any} */ (window).benchSeen());
    print(`after ${second} s: ${told} events`, `heap ${(await heap(page)).toFixed(0)} MiB, ${peak.toFixed(0)} MiB before collections, ${(busy * 100).toFixed(0)} % of the time taking in`);
  }
  await movement(page, 'live, pan', 'pan');
}, { arguments: UNLIMITED }), { timeout: (SECONDS + 120) * 1000 });

/** How long vis-timeline is waited for. */
const PATIENCE = 120_000;

/** @param {import('playwright-core').Page} page @param {number} attempts */
async function visTimeline(page, attempts) {
  await page.goto('about:blank');
  await page.addScriptTag({ path: VIS });
  await page.addScriptTag({ content: `${GENERATOR}\nwindow.benchEvents = events;` });
  print(`vis-timeline, ${attempts} bars without their ticks`, `first paint ${whole(await page.evaluate(showVis, attempts))}`);
  print('vis-timeline, heap', `${(await heap(page)).toFixed(0)} MiB`);
  for (const how of ['zoom', 'pan']) await movement(page, `vis-timeline, ${how}`, how);
}

for (const attempts of [1000, 10_000, ATTEMPTS]) {
  browserTest(`vis-timeline, ${attempts} of the same attempts`, () => withPage(async (page) => {
    const late = new Promise((done) => { setTimeout(done, PATIENCE, true).unref(); });
    // The page may be too busy to be closed in good order.
    if (await Promise.race([visTimeline(page, attempts), late])) print(`vis-timeline, ${attempts} bars`, `not done within ${PATIENCE / 1000} s`);
  }, { arguments: UNLIMITED }), { timeout: 2 * PATIENCE });
}
