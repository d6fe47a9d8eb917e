// What the page says when things are not as they should be.

import assert from 'node:assert/strict';
import { TOKEN, browserTest, checkAccess, inNamespace, picture, reachStreams, screenshot, startTrace, withPage } from './harness.js';

const REFUSED = 'nc -w 1 10.99.0.1 9; exit 0';

browserTest('a wrong field is named by the server and shown at the field', () => withPage(async (page, server, complaints) => {
  await page.goto(server.url);
  await page.locator('#capabilities summary', { hasText: /^Kernel \d/ }).click();
  await page.locator('#capabilities li', { hasText: 'tcp_retransmit_skb' }).waitFor();
  await screenshot(page, 'start');
  await page.getByRole('button', { name: 'One peer' }).click();
  await page.keyboard.type('203.0.113.300');
  await page.keyboard.press('Tab');
  await page.locator('label', { has: page.locator('[name="filter.peer"]') }).getByRole('alert').filter({ hasText: 'An address or a CIDR' }).waitFor();
  await page.fill('[name="filter.peer"]', '203.0.113.7/::');
  await page.getByRole('button', { name: 'Start', exact: true }).click();
  const label = page.locator('label', { has: page.locator('[name="filter.peer"]') });
  await label.getByRole('alert').waitFor();
  assert.ok((await label.getByRole('alert').innerText()).length > 10);
  assert.equal(await page.locator('[name="filter.peer"]').getAttribute('aria-invalid'), 'true');
  await screenshot(page, 'start-problem');
  await page.fill('[name="filter.peer"]', '203.0.113.0/24');
  assert.equal(await label.getByRole('alert').count(), 0, 'gone once something else is typed');
  complaints.length = 0; // Chromium logs every answer of 4xx.
}));

browserTest('a click on Start was lost when the button moved under the pointer', () => withPage(async (page, server) => {
  let answer = () => {};
  const answered = new Promise((resolve) => { answer = () => resolve(null); });
  await page.route('**/api/v1/capabilities', (route) => answered.then(() => route.continue()));
  await page.goto(server.url);
  const start = page.getByRole('button', { name: 'Start', exact: true });
  await start.waitFor();
  await page.evaluate(() => document.getElementById('start-view')?.scrollTo(0, 9999));
  const before = await start.boundingBox();
  answer();
  await page.locator('#capabilities summary', { hasText: /^Kernel \d/ }).waitFor();
  assert.deepEqual(await start.boundingBox(), before);
}));

browserTest('a server that does not say what its kernel can tell', () => withPage(async (page, server, complaints) => {
  await page.route('**/api/v1/capabilities', (route) => route.abort());
  await page.goto(server.url);
  await page.locator('#capabilities summary', { hasText: 'What this kernel can tell is not known' }).waitFor();
  complaints.length = 0; // Chromium logs what was aborted.
}));

browserTest('without a token, with a wrong one, and with the right one pasted', () => withPage(async (page, server, complaints) => {
  await page.goto(server.url.replace(/#.*/, ''));
  await page.getByRole('heading', { name: 'This page needs its token' }).waitFor();
  await page.fill('#token-input', 'a-wrong-token-0123');
  await page.getByRole('button', { name: 'Open' }).click();
  await page.locator('#token-reason', { hasText: 'does not accept' }).waitFor();
  await screenshot(page, 'unauthorised');
  await page.fill('#token-input', `${server.url.replace(/#.*/, '')}#token=${TOKEN}`);
  await page.getByRole('button', { name: 'Open' }).click();
  await page.getByRole('heading', { name: 'Start a trace' }).waitFor();
  complaints.length = 0;
}));

browserTest('the token moves from the address to the session of the tab, and nowhere else', () => withPage(async (page, server) => {
  /** @type {string[]} */
  const asked = [];
  page.on('request', (request) => asked.push(`${request.url()} ${request.headers()['referer'] ?? ''}`));
  await page.goto(server.url);
  await page.getByRole('heading', { name: 'Start a trace' }).waitFor();
  const kept = await page.evaluate(() => ({
    address: location.href, cookies: document.cookie, local: JSON.stringify({ ...localStorage }), session: JSON.stringify({ ...sessionStorage }),
  }));
  assert.match(kept.session, new RegExp(TOKEN));
  assert.doesNotMatch(`${kept.address} ${kept.cookies} ${kept.local}`, new RegExp(TOKEN));
  assert.ok(asked.length > 3, 'no requests were seen');
  // What follows # is not sent, though the browser shows it here.
  for (const request of asked) assert.doesNotMatch(request.replace(/#\S*/g, ''), new RegExp(TOKEN));
}));

browserTest('stopping, the switcher, and a link to an attempt', () => withPage(async (page, server) => {
  await startTrace(page, server, { name: 'first' });
  await inNamespace(REFUSED);
  await page.locator('#rows tr[data-ordinal="0"]').click();
  await page.getByRole('button', { name: 'Stop' }).click();
  await page.locator('#connection', { hasText: 'stopped' }).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Stop' }).isVisible(), false);
  await page.waitForFunction(() => /#trace=[^&]+&attempt=\d+&from=/.test(location.hash));
  const link = page.url();

  await page.getByRole('button', { name: 'Traces' }).click();
  await page.fill('[name="name"]', 'second');
  await page.getByRole('button', { name: 'Start', exact: true }).click();
  await page.locator('#nothing', { hasText: 'Watching.' }).waitFor();
  await screenshot(page, 'empty');
  await page.getByRole('button', { name: 'Traces' }).click();
  const past = page.locator('#past-rows');
  await past.getByRole('button', { name: 'first' }).focus();
  await inNamespace(REFUSED);
  await past.getByRole('row', { name: /^second .* running 1\s*$/ }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.textContent), 'first', 'the focus stays where it was');
  assert.equal(await page.locator('#counters').isVisible(), false, 'counters are those of an open trace');
  await page.locator('#switcher').selectOption({ index: 1 });
  await page.locator('#rows tr', { hasText: 'refused' }).waitFor();

  await page.goto('about:blank');
  await page.goto(link);
  await page.locator('#drawer .sentence', { hasText: 'refused' }).waitFor();
  await page.locator('#connection', { hasText: 'stopped' }).waitFor();
}));

browserTest('everything works from the keyboard', () => withPage(async (page, server) => {
  await startTrace(page, server);
  await inNamespace('for port in 1 2 3; do nc -w 1 10.99.0.1 $port; done; exit 0');
  await page.locator('#rows tr[data-ordinal="2"]').waitFor();
  await page.locator('#rows tr[data-ordinal="0"]').focus();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  const drawer = page.locator('#drawer');
  await drawer.getByText('10.99.0.1:2', { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.closest('aside')?.id), 'drawer');
  await page.keyboard.press('.');
  await drawer.getByText('10.99.0.1:3', { exact: true }).waitFor();
  const before = await page.locator('#span').textContent();
  await page.keyboard.press('f');
  await page.waitForFunction((text) => document.getElementById('span')?.textContent !== text, before);
  await page.keyboard.press('Escape');
  await drawer.waitFor({ state: 'hidden' });
  assert.equal(await page.evaluate(() => document.activeElement?.closest('tr')?.dataset.ordinal), '2');
  await page.keyboard.press('?');
  await page.getByRole('dialog').waitFor();
  await page.keyboard.press('Escape');
}));

browserTest('a dropped connection is resumed after the last event taken', () => withPage(async (page, server) => {
  const streams = await reachStreams(page);
  await startTrace(page, server);
  await inNamespace(REFUSED);
  await page.locator('#rows tr[data-ordinal="0"]').waitFor();
  await streams.drop();
  await inNamespace(REFUSED);
  await page.locator('#rows tr[data-ordinal="1"]').waitFor();
  assert.deepEqual(await streams.asked(), [0, 1]);
  assert.equal(await page.locator('#rows tr[data-ordinal]').count(), 2);
  assert.match(await page.locator('#counters').innerText(), /Lost\s+0/);
}));

browserTest('lost events are said in numbers and drawn where they were lost', () => withPage(async (page, server) => {
  const streams = await reachStreams(page);
  await startTrace(page, server);
  // What the server says of losses would overwrite what this test makes up.
  await streams.withhold('heartbeat');
  await inNamespace(REFUSED);
  await page.locator('#rows tr[data-ordinal="0"]').waitFor();
  const attempts = { started: 9, established: 8, failed: 1, untracked: 0, quiet: 8 };
  const beat = (/** @type {number} */ ringbuf) => streams.tell({
    type: 'heartbeat', time_unix_nano: `${Date.now()}000000`,
    counters: { produced: 1 + ringbuf, delivered: 1, lost: { ringbuf, queue: 0 }, attempts, connect_duration_log2_us: [] },
  });
  await beat(0);
  await page.waitForTimeout(2500);
  await beat(120);
  await streams.tell({ type: 'gap', from: 2, to: 4, count: 3, stage: 'reader' });
  await page.locator('#counters .alert', { hasText: '123' }).waitFor();
  const notice = await page.locator('#notices').innerText();
  assert.match(notice, /123 events lost: 120 in the kernel's ring buffer, 3 /);
  await screenshot(page, 'lost');
}));

browserTest('a server that goes away and comes back', () => withPage(async (page, server, complaints) => {
  await startTrace(page, server);
  await inNamespace(REFUSED);
  await page.locator('#rows tr[data-ordinal="0"]').waitFor();
  await server.stop('SIGKILL');
  await page.locator('#connection', { hasText: 'server gone' }).waitFor();
  await page.locator('#notices', { hasText: 'does not answer' }).waitFor();
  assert.equal(await page.locator('#rows tr[data-ordinal="0"]').isVisible(), true, 'what was received stays');
  assert.equal(await page.locator('#follow').innerText(), 'No news', 'nothing that is not live says so');
  await screenshot(page, 'disconnected');
  await server.start(server.listen);
  await page.locator('#connection', { hasText: 'interrupted' }).waitFor();
  await page.locator('#notices', { hasText: 'The server was restarted' }).waitFor();
  await page.locator('#rows tr[data-ordinal="0"]', { hasText: 'refused' }).waitFor();
  await screenshot(page, 'restarted');

  await server.stop('SIGTERM');
  await server.start(server.listen, 'token-after-the-restart');
  await page.getByRole('heading', { name: 'This page needs its token' }).waitFor();
  complaints.length = 0; // Chromium logs every refused connection.
}));

browserTest('without JavaScript there are tables, for those who give the token as password', async () => {
  await withPage(async (page, server) => {
    await page.goto(server.url);
    await page.getByRole('link', { name: 'A plain page' }).waitFor();
    assert.equal(await page.locator('#app').isVisible(), false);
    await screenshot(page, 'no-javascript');
    const base = new URL(server.url).origin;
    const refused = await page.request.get(`${base}/plain`);
    assert.equal(refused.status(), 401);
    assert.match(refused.headers()['www-authenticate'], /^Basic /);
    assert.doesNotMatch(await refused.text(), /Newest attempts/);

    await page.request.post(`${base}/api/v1/traces`, { headers: { Authorization: `Bearer ${TOKEN}` }, data: { name: 'a plain one', filter: { comm: 'nc' } } });
    await inNamespace(REFUSED);
    const browser = /** @type {import('playwright-core').Browser} */ (page.context().browser());
    const reader = await browser.newContext({ javaScriptEnabled: false, httpCredentials: { username: 'anyone', password: TOKEN }, viewport: { width: 1280, height: 800 } });
    const plain = await reader.newPage();
    const row = plain.locator('tr', { hasText: '10.99.0.1:9' });
    do await plain.goto(`${base}/plain`); while (await row.count() === 0);
    assert.match(await row.innerText(), /UTC\s+refused\s+10\.99\.0\.1:9\s+nc \d+\s+0\s+0\.\d+ ms\s+10\.99\.0\.1:9 refused/);
    await plain.getByRole('row', { name: 'a plain one' }).getByRole('link').click();
    await row.waitFor();
    await screenshot(plain, 'no-javascript-tables');
    await reader.close();

    // The same page where axe can run.
    const examined = await browser.newContext({ httpCredentials: { username: 'anyone', password: TOKEN }, viewport: { width: 390, height: 844 } });
    const tables = await examined.newPage();
    await tables.goto(`${base}/plain`);
    await tables.locator('tr', { hasText: '10.99.0.1:9' }).waitFor();
    await checkAccess(tables, '/plain');
    await picture(tables, 'plain-narrow');
    assert.equal(await tables.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0, 'wide tables scroll by themselves');
    await examined.close();
  }, { javaScriptEnabled: false });
});

browserTest('no trace yet, and a quick healthy connect that needs no telling', () => withPage(async (page, server) => {
  await page.goto(server.url);
  await page.locator('#past-none', { hasText: 'There is no trace yet.' }).waitFor();
  await screenshot(page, 'no-trace');
  await startTrace(page, server);
  await page.locator('#nothing', { hasText: 'No connect has been seen at all.' }).waitFor();
  await inNamespace('nc -l -p 8080 >/dev/null & sleep 0.5; nc -w 1 10.99.0.1 8080 </dev/null; exit 0');
  await page.locator('#nothing', { hasText: /Nothing has failed, been slow or been retried yet\. 1 connected quickly/ }).waitFor();
  await screenshot(page, 'healthy');
}));

browserTest('a kernel that refuses the probes is told with its reason and a remedy', () => withPage(async (page, server, complaints) => {
  await page.goto(server.url);
  await page.getByRole('heading', { name: 'Start a trace' }).waitFor();
  await page.getByRole('button', { name: 'Start', exact: true }).click();
  const problem = page.locator('#start-problem');
  await problem.waitFor();
  assert.match(await problem.innerText(), /\w+.*\n+.*\w+/, 'what, and what to do');
  assert.match(await problem.innerText(), /CAP_BPF|root|capabilit/i);
  await screenshot(page, 'probe-failed');
  complaints.length = 0;
}, { server: { wrapper: ['setpriv', '--bounding-set', '-bpf,-sys_admin,-perfmon', '--'] } }));

for (const [state, how, words] of /** @type {[string, { flags?: string[], data?: string }, RegExp][]} */ ([
  ['off', { flags: ['--history', 'off'] }, /^History is off: traces are gone when the server ends/],
  ['memory', { data: '/proc/synscope-cannot-be-made' }, /^History is in memory only: .*\w/],
])) {
  browserTest(`history ${state} is said, and a discarded trace as well`, () => withPage(async (page, server, complaints) => {
    await page.goto(server.url);
    await page.locator('#history-state', { hasText: words }).waitFor();
    await screenshot(page, `history-${state}`);
    await startTrace(page, server);
    assert.equal(await page.locator('#notices', { hasText: 'History is' }).count(), state === 'memory' ? 1 : 0);
    await server.stop('SIGKILL');
    await server.start(server.listen);
    await page.locator('#connection', { hasText: 'trace discarded' }).waitFor();
    await page.locator('#notices', { hasText: 'no longer has this trace' }).waitFor();
    complaints.length = 0;
  }, { server: how }));
}

browserTest('all scripts and styles together come as at most 60 kB', () => withPage(async (page, server) => {
  await page.goto(server.url);
  await page.getByRole('heading', { name: 'Start a trace' }).waitFor();
  const came = await page.evaluate(() => /** @type {PerformanceResourceTiming[]} */ (performance.getEntriesByType('resource'))
    .filter(({ name }) => /\.(js|css)$/.test(name))
    .map(({ encodedBodySize, decodedBodySize }) => ({ encodedBodySize, decodedBodySize })));
  const sum = (/** @type {'encodedBodySize' | 'decodedBodySize'} */ size) => came.reduce((total, one) => total + one[size], 0);
  assert.ok(sum('decodedBodySize') > 100_000, `only ${came.length} files were counted`);
  assert.ok(sum('encodedBodySize') <= 60_000, `${sum('encodedBodySize')} bytes in ${came.length} files`);
}));
