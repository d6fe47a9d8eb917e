// How the page does with many attempts: prints figures, judges nothing. `ATTEMPTS=20000 npm run bench:browser`.

import { performance } from 'node:perf_hooks';
import { browserTest, startTrace, withPage } from './harness.js';

const ATTEMPTS = Number(process.env.ATTEMPTS ?? 20_000);
const BATCH = 256;

/** One attempt in four had to send its SYN again. */
function* events() {
  const begin = Date.now() - 3_600_000;
  let seq = 0;
  const frames = Array.from({ length: 12 }, (_, index) => ({ address: `0x7f00${index}`, function: `function_${index}`, offset: index, module: '/usr/lib/libexample.so' }));
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const at = begin + attempt * 36;
    const told = (/** @type {string} */ event, /** @type {number} */ after, /** @type {object} */ connect) => ({
      seq: (seq += 1), event, attempt, time_unix_nano: `${at + after}000000`,
      network: { type: 'ipv4', local: { address: '10.0.0.5', port: 32_768 + (attempt % 28_000) }, peer: { address: `10.1.${attempt % 40}.7`, port: 443 } },
      process: { pid: 1000 + (attempt % 900), tid: 1000, comm: ['nginx', 'envoy', 'curl'][attempt % 3], user: { id: 0 } },
      tcp: { connect: { start_unix_nano: `${at}000000`, ...connect } },
      diagnosis: { summary: `10.1.${attempt % 40}.7:443 refused with RST after ${after} ms.`, next: 'Look there.' },
      stack: { user: frames, kernel: frames },
    });
    if (attempt % 4 === 0) yield told('connect.retransmit', 1000, { syn_retransmits: 1 });
    yield told('connect.failed', attempt % 4 === 0 ? 1500 : 3, { cause: attempt % 7 === 0 ? 'timeout' : 'refused', syn_retransmits: attempt % 4 === 0 ? 1 : 0 });
  }
}

/** Intervals of frames while the wheel turns, in ms. @param {import('playwright-core').Page} page @param {boolean} shift pans instead of zooming */
async function frames(page, shift) {
  const times = await page.evaluate((pan) => new Promise((/** @type {(times: number[]) => void} */ resolve) => {
    const canvas = /** @type {HTMLElement} */ (document.getElementById('timeline'));
    /** @type {number[]} */
    const seen = [];
    const turn = (/** @type {number} */ time) => {
      seen.push(time);
      if (seen.length > 120) {
        resolve(seen.slice(1).map((later, index) => later - seen[index]).sort((a, b) => a - b));
        return;
      }
      canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: seen.length % 40 < 20 ? 60 : -60, shiftKey: pan, clientX: 900, clientY: 400, cancelable: true }));
      requestAnimationFrame(turn);
    };
    requestAnimationFrame(turn);
  }), shift);
  return `median ${times[60].toFixed(1)} ms, p95 ${times[114].toFixed(1)} ms`;
}

browserTest(`${ATTEMPTS} attempts`, () => withPage(async (page, server) => {
  /** @type {((message: object) => void) | undefined} */
  let tell;
  await page.routeWebSocket(/\/stream\?/, (socket) => {
    tell = (message) => socket.send(JSON.stringify(message));
    tell({ type: 'hello', epoch: 'bench', trace: 'bench', first_seq: 1, next_seq: 1 });
  });
  await startTrace(page, server);
  const began = performance.now();
  /** @type {object[]} */
  let batch = [];
  for (const event of events()) {
    batch.push(event);
    if (batch.length < BATCH) continue;
    tell?.({ type: 'events', events: batch });
    batch = [];
  }
  tell?.({ type: 'events', events: batch });
  await page.waitForFunction((all) => {
    const numbers = [...document.querySelectorAll('#legend b')].map((number) => Number(number.textContent?.replace(/\D/g, '')));
    return numbers.reduce((sum, number) => sum + number, 0) === all;
  }, ATTEMPTS, { timeout: 90_000 });
  console.log(`taken in and shown: ${(performance.now() - began).toFixed(0)} ms from the first message, making it included`);
  await page.getByRole('button', { name: 'Fit' }).click();
  const session = await page.context().newCDPSession(page);
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  console.log(`heap after a collection: ${(usedSize / 2 ** 20).toFixed(0)} MiB`);
  console.log(`folded, zooming: ${await frames(page, false)}`);
  console.log(`folded, panning: ${await frames(page, true)}`);
  await page.locator('#fold').uncheck();
  console.log(`one by one, zooming: ${await frames(page, false)}`);
  console.log(`one by one, panning: ${await frames(page, true)}`);
  await page.locator('#group').selectOption('peer');
  console.log(`grouped by peer, panning: ${await frames(page, true)}`);
}));
