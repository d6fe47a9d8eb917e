import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { Refused, Unreachable } from '../../assets/js/api.js';
import { Stream, backoff } from '../../assets/js/stream.js';
import { hello, trace } from './events.js';

/** Stands in for a WebSocket. */
class Socket {
  closed = false;
  /** @type {((event: { data: string }) => void) | null} */
  onmessage = null;
  /** @type {((event: { code: number }) => void) | null} */
  onclose = null;

  close() {
    this.closed = true;
  }

  /** @param {object} message */
  say(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
}

/** @type {{ id: string, after: number, socket: Socket }[]} */
let opened = [];
/** @type {{ run: () => void, ms: number }[]} */
let timers = [];
/** @type {any[]} */
let connections = [];
/** @type {any[]} */
let messages = [];
/** @type {() => Promise<any>} */
let answer = async () => trace();
let after = 0;
/** @type {string | number | null} */
let epoch = null;
let restarts = 0;

beforeEach(() => {
  [opened, timers, connections, messages] = [[], [], [], []];
  [after, epoch, restarts] = [0, null, 0];
  answer = async () => trace();
});

function start() {
  return new Stream('k1', {
    socket: (id, from) => {
      const socket = new Socket();
      opened.push({ id, after: from, socket });
      return /** @type {any} */ (socket);
    },
    trace: () => answer(),
  }, {
    after: () => after,
    epoch: () => epoch,
    restarted: () => { restarts += 1; },
    message: (message) => messages.push(message),
    connection: (connection) => connections.push(connection),
  }, {
    set: (run, ms) => { const timer = { run, ms }; timers.push(timer); return timer; },
    clear: (timer) => { timers = timers.filter((other) => other !== timer); },
    now: () => 1000,
    random: () => 0.5,
  });
}

const settled = () => new Promise((resolve) => { setImmediate(resolve); });
const latest = () => opened[opened.length - 1].socket;
const phase = () => connections[connections.length - 1].phase;

/** @param {(ms: number) => boolean} which */
function fire(which) {
  const timer = timers.find(({ ms }) => which(ms));
  assert.ok(timer, 'no such timer');
  timers = timers.filter((other) => other !== timer);
  timer.run();
}

test('is live after hello and passes every message on', () => {
  start();
  assert.equal(phase(), 'connecting');
  latest().say(hello());
  assert.equal(phase(), 'live');
  assert.equal(messages[0].type, 'hello');
});

test('resumes after the last event taken when the connection drops', async () => {
  start();
  latest().say(hello());
  after = 41;
  latest().onclose?.({ code: 1006 });
  await settled();
  assert.equal(phase(), 'reconnecting');
  fire((ms) => ms < 1000);
  assert.equal(opened[1].after, 41);
  latest().say(hello());
  assert.equal(phase(), 'live');
});

test('a silent connection is given up', () => {
  start();
  const first = latest();
  first.say(hello());
  fire((ms) => ms === 15_000);
  assert.equal(first.closed, true);
  assert.equal(phase(), 'reconnecting');
});

test('says what the server says: wrong token, no such trace, nothing at all', async () => {
  for (const [error, expected] of /** @type {const} */ ([
    [new Refused({ status: 401 }), 'unauthorised'],
    [new Refused({ status: 404 }), 'missing'],
    [new Unreachable('no'), 'reconnecting'],
    [new Refused({ status: 500 }), 'reconnecting'],
  ])) {
    start();
    answer = async () => { throw error; };
    latest().onclose?.({ code: 1006 });
    await settled();
    assert.equal(phase(), expected);
  }
});

test('ends with the trace and stays ended', async () => {
  const stream = start();
  latest().say(hello());
  latest().say({ type: 'end', reason: 'requested' });
  latest().onclose?.({ code: 1000 });
  await settled();
  assert.equal(phase(), 'ended');
  stream.retry();
  assert.equal(opened.length, 1);
});

test('goes on after what was taken when the server is another one', () => {
  epoch = 'zero';
  after = 7;
  start();
  latest().say(hello());
  assert.equal(restarts, 1);
  assert.deepEqual(opened.map((one) => one.after), [7]);
  assert.equal(messages.length, 1);
});

test('nothing follows after it was closed', async () => {
  const stream = start();
  latest().onclose?.({ code: 1006 });
  stream.close();
  const before = connections.length;
  await settled();
  assert.equal(connections.length, before);
  assert.equal(timers.length, 0);
});

test('delays grow to a limit and differ between readers', () => {
  assert.equal(backoff(0, 0), 200);
  assert.equal(backoff(0, 1), 400);
  assert.equal(backoff(3, 1), 3200);
  assert.equal(backoff(30, 1), 10_000);
});
