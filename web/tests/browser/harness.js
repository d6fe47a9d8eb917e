// Everything a browser test stands on: the real server, a real browser, and connects that really fail.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { accessSync, constants, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const WEB = new URL('../../', import.meta.url);
const RESULTS = fileURLToPath(new URL('test-results/', WEB));
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const ARGUMENTS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];
export const TOKEN = 'token-of-the-browser-tests';
/** Attaching the probes and everything on the page must be done within this. */
export const PATIENCE = 30_000;

/** @param {string} path */
function runs(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function binary() {
  const candidates = process.env.SYNSCOPE_BIN
    ? [process.env.SYNSCOPE_BIN]
    : ['release', 'debug'].map((profile) => fileURLToPath(new URL(`../target/${profile}/synscope`, WEB)));
  return candidates.find(runs);
}

function missing() {
  const tools = ['unshare', 'ip', 'nc'].filter((tool) =>
    !(process.env.PATH ?? '').split(':').concat('/usr/sbin').some((directory) => runs(join(directory, tool))));
  return [
    ...(process.getuid?.() === 0 ? [] : ['root']),
    ...(runs(CHROMIUM) ? [] : [`Chromium at ${CHROMIUM} (set CHROMIUM)`]),
    ...(binary() ? [] : ['the synscope binary (cargo build --release, or set SYNSCOPE_BIN)']),
    ...tools,
  ];
}

/**
 * A test that needs the machine. Where something is missing it is skipped, and says so; with CI=true it fails.
 * @param {string} name @param {() => Promise<void>} run @param {{ timeout: number }} [options] ms
 */
export function browserTest(name, run, { timeout } = { timeout: 120_000 }) {
  const lacking = missing();
  const skip = lacking.length > 0 && process.env.CI !== 'true' ? `SKIPPED, needs ${lacking.join(', ')}` : false;
  if (skip) console.error(`!!! ${name}: ${skip}`);
  test(name, { skip, timeout }, async () => {
    assert.deepEqual(lacking, [], 'CI=true: nothing may be missing');
    await run();
  });
}

/** The server, in a directory of its own. */
export class Server {
  /** @type {import('node:child_process').ChildProcess | null} */
  #process = null;
  #data = mkdtempSync(join(tmpdir(), 'synscope-browser-'));
  /** @type {string[]} */
  log = [];
  url = '';
  #how;

  /** @param {{ wrapper?: string[], flags?: string[], data?: string }} [how] `wrapper` is a command that runs the server */
  constructor(how = {}) {
    this.#how = how;
  }

  /** @param {string} [listen] @param {string} [token] */
  async start(listen = '127.0.0.1:0', token = TOKEN) {
    const { wrapper = [], flags = [], data = this.#data } = this.#how;
    const [command, ...rest] = [...wrapper, /** @type {string} */ (binary()), 'serve', '--listen', listen, '--data-dir', data, ...flags];
    const child = spawn(command, rest, {
      env: { ...process.env, SYNSCOPE_TOKEN: token }, stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#process = child;
    createInterface({ input: child.stderr }).on('line', (line) => this.log.push(line));
    this.url = await new Promise((resolve, reject) => {
      createInterface({ input: child.stdout }).once('line', resolve);
      child.once('exit', (code) => reject(new Error(`the server exited with ${code}:\n${this.log.join('\n')}`)));
    });
    return this.url;
  }

  get listen() {
    return new URL(this.url).host;
  }

  /** @param {NodeJS.Signals} signal */
  async stop(signal = 'SIGTERM') {
    const child = this.#process;
    this.#process = null;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => { child.once('exit', resolve); });
    child.kill(signal);
    await gone;
  }

  async close() {
    await this.stop();
    rmSync(this.#data, { recursive: true, force: true });
  }
}

/**
 * Runs with a server and a browser, and afterwards insists that the page had nothing to complain about.
 * @param {(page: import('playwright-core').Page, server: Server, complaints: string[]) => Promise<void>} run
 * @param {import('playwright-core').BrowserContextOptions & { arguments?: string[], server?: { wrapper?: string[], flags?: string[], data?: string } }} [options]
 * `arguments` are Chromium's, `server` how the server is run
 */
export async function withPage(run, { arguments: more = [], server: how, ...options } = {}) {
  const server = new Server(how);
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: [...ARGUMENTS, ...more] });
  /** @type {string[]} */
  const complaints = [];
  try {
    await server.start();
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light', ...options });
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    page.on('console', (message) => {
      // Chromium also reports a violated content security policy here.
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(String(error.stack)));
    await run(page, server, complaints);
    assert.deepEqual(complaints, [], 'the page complained');
  } catch (error) {
    console.error(server.log.slice(-40).join('\n'));
    for (const page of browser.contexts().flatMap((context) => context.pages())) {
      const shown = await page.locator('body').innerText().catch(String);
      console.error(`${page.url()} shows:\n${shown.slice(0, 2000)}`);
    }
    console.error(complaints.join('\n'));
    throw error;
  } finally {
    await browser.close();
    await server.close();
  }
}

/**
 * Runs a script in a network namespace of its own, where 10.99.0.1 is local and nobody ever answers
 * for 203.0.113.0/24.
 * @param {string} script for sh
 * @returns {Promise<void>} done when the script is
 */
export function inNamespace(script) {
  const setUp = 'ip link set lo up && ip addr add 10.99.0.1/32 dev lo && ip route add 203.0.113.0/24 dev lo';
  const child = spawn('unshare', ['--net', 'sh', '-c', `${setUp} || exit 9\n${script}`], { stdio: 'ignore' });
  return new Promise((resolve, reject) => {
    // nc exits with 1 when it cannot connect, which is what it is here for.
    child.once('exit', (code) => (code === 9 ? reject(new Error('the network namespace could not be set up')) : resolve()));
    child.once('error', reject);
  });
}

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/**
 * Insists that axe finds nothing wrong, in light and in dark.
 * @param {import('playwright-core').Page} page @param {string} name of the state, for the complaint
 */
export async function checkAccess(page, name) {
  const before = await page.evaluate(() => (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'));
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(AXE);
    const found = await page.evaluate(async () => {
      const { violations } = await /** @type {any} */ (window).axe.run(document, { resultTypes: ['violations'] });
      return violations.flatMap((/** @type {any} */ violation) => violation.nodes.map((/** @type {any} */ node) =>
        `${violation.id}: ${node.html.slice(0, 160)} ${node.any.map((/** @type {any} */ check) => check.message).join(' ')}`));
    });
    assert.deepEqual(found, [], `${name}, ${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: before });
}

/** Takes a picture to look at. @param {import('playwright-core').Page} page @param {string} name */
export async function picture(page, name) {
  mkdirSync(RESULTS, { recursive: true });
  await page.screenshot({ path: join(RESULTS, `${name}.png`) });
}

/** Those that README and docs show. */
const PUBLISHED = ['timeline', 'dark', 'groups', 'narrow-drawer-dark'];

/** Takes a picture of a state, once axe is content with it. @param {import('playwright-core').Page} page @param {string} name */
export async function screenshot(page, name) {
  // Without JavaScript in the page, axe cannot run in it either.
  if (!name.startsWith('no-javascript')) await checkAccess(page, name);
  const published = process.env.UPDATE_SCREENSHOTS === '1' && PUBLISHED.includes(name);
  const directory = published ? fileURLToPath(new URL('../docs/images/', WEB)) : RESULTS;
  mkdirSync(directory, { recursive: true });
  await page.screenshot({ path: join(directory, `${name}.png`) });
}

/**
 * Lets a test reach the page's streams, which stay the browser's own sockets to the real server. Called before
 * the page is opened.
 * @param {import('playwright-core').Page} page
 */
export async function reachStreams(page) {
  await page.addInitScript(() => {
    /** @type {WebSocket[]} */
    const streams = [];
    const reach = { streams, deaf: /** @type {string[]} */ ([]) };
    Object.assign(window, { reach });
    const Native = WebSocket;
    window.WebSocket = class extends Native {
      /** @param {string | URL} url @param {string | string[]} [protocols] */
      constructor(url, protocols) {
        super(url, protocols);
        if (!/\/stream\?/.test(String(url))) return;
        streams.push(this);
        // Before any listener of the page.
        this.addEventListener('message', (event) => {
          if (event.isTrusted && reach.deaf.includes(JSON.parse(event.data).type)) event.stopImmediatePropagation();
        });
      }
    };
  });
  return {
    /** Tells the page what the server did not say. @param {object} message */
    tell: (message) => page.evaluate((data) => {
      const { streams } = /** @type {any} */ (window).reach;
      streams.at(-1).dispatchEvent(new MessageEvent('message', { data }));
    }, JSON.stringify(message)),
    /** Keeps messages of a type from the page. @param {string} type */
    withhold: (type) => page.evaluate((which) => { /** @type {any} */ (window).reach.deaf.push(which); }, type),
    /** Ends the newest stream, of which nothing comes any more afterwards. */
    drop: () => page.evaluate(() => new Promise((resolve) => {
      const stream = /** @type {any} */ (window).reach.streams.at(-1);
      stream.addEventListener('close', resolve);
      stream.close(4000, 'test');
    }).then(() => {})),
    /** After which event each stream so far asked to be told. @returns {Promise<number[]>} */
    asked: () => page.evaluate(() => /** @type {any} */ (window).reach.streams.map(
      (/** @type {WebSocket} */ { url }) => Number(new URL(url).searchParams.get('after')))),
  };
}

/** What else connects on this machine must not get into a test's table. */
const OURS = { 'filter.comm': 'nc', 'filter.peer': '10.99.0.1, 203.0.113.0/24, fd00:99::1' };

/**
 * Opens the page and starts a trace from the panel.
 * @param {import('playwright-core').Page} page @param {Server} server @param {Record<string, string>} [fields]
 */
export async function startTrace(page, server, fields = {}) {
  await page.goto(server.url);
  for (const [name, value] of Object.entries({ ...OURS, ...fields })) await page.fill(`[name="${name}"]`, value);
  await page.getByRole('button', { name: 'Start', exact: true }).click();
  await page.locator('#connection', { hasText: 'live' }).waitFor();
}
