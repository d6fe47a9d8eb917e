// What the bench runs inside the page. Each function stands alone: its text is sent there.

/** Puts a stream in place of the WebSocket. It is told through `benchTell`. */
export function installFeed() {
  const host = /** @type {any} */ (window);
  /** @type {any} */
  let socket = null;
  host.WebSocket = class {
    constructor() {
      socket = this;
      setTimeout(() => host.benchTell('{"type":"hello","epoch":"bench","trace":"bench","first_seq":1,"next_seq":1}'));
    }

    close() {}
  };
  host.benchTell = (/** @type {string} */ data) => {
    const began = performance.now();
    socket.onmessage?.({ data });
    return performance.now() - began;
  };
  const seen = { told: 0, busy: 0, since: 0, peak: 0 };
  host.benchLive = (/** @type {number} */ rate) => {
    const events = host.benchEvents(1e9, Date.now(), 1000 / rate * 1.83);
    seen.since = performance.now();
    setInterval(() => {
      const due = Math.floor((performance.now() - seen.since) / 1000 * rate) - seen.told;
      for (let left = Math.min(due, 2000); left > 0; left -= 256) {
        const batch = Array.from({ length: Math.min(left, 256) }, () => events.next().value);
        seen.told += batch.length;
        seen.busy += host.benchTell(`{"type":"events","events":[${batch.join()}]}`);
      }
      seen.peak = Math.max(seen.peak, /** @type {any} */ (performance).memory.usedJSHeapSize / 2 ** 20);
    }, 50);
    setInterval(() => host.benchTell(JSON.stringify({
      type: 'heartbeat', time_unix_nano: `${Date.now()}000000`,
      counters: { produced: seen.told, delivered: seen.told, lost: { ringbuf: 0, queue: 0 }, attempts: { started: 0, established: 0, failed: 0, untracked: 0, quiet: 0 } },
    })), 1000);
  };
  host.benchSeen = () => {
    const { told, peak } = seen;
    seen.peak = 0;
    return { told, peak, busy: seen.busy / (performance.now() - seen.since) };
  };
}

/**
 * Tells a recording, one message a task as a socket does, and waits until all of it is painted.
 * @param {{ attempts: number, begin: number }} recording
 */
export async function feed({ attempts, begin }) {
  const host = /** @type {any} */ (window);
  const channel = new MessageChannel();
  const task = () => new Promise((done) => {
    channel.port1.onmessage = done;
    channel.port2.postMessage(0);
  });
  const told = { events: 0, bytes: 0, busy: 0, longest: 0, painted: 0 };
  /** @type {string[]} */
  let batch = [];
  const flush = () => {
    const text = `{"type":"events","events":[${batch.join()}]}`;
    batch = [];
    told.bytes += text.length;
    const took = host.benchTell(text);
    told.busy += took;
    told.longest = Math.max(told.longest, took);
  };
  for (const text of host.benchEvents(attempts, begin)) {
    told.events += 1;
    batch.push(text);
    if (batch.length < 256) continue;
    flush();
    await task();
  }
  const began = performance.now();
  flush();
  host.benchTell('{"type":"end","reason":"requested"}');
  const shown = () => [...document.querySelectorAll('#legend b')].reduce((sum, number) => sum + Number(number.textContent?.replace(/\D/g, '')), 0);
  do await new Promise(requestAnimationFrame); while (shown() < attempts);
  // The rows may lag behind the legend by their pace; a frame after both is a frame with everything.
  await new Promise((done) => { setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), attempts / 400); });
  told.painted = performance.now() - began;
  return told;
}

/**
 * Intervals between frames while something moves in each.
 * @param {{ how: string, count: number }} movement
 */
export async function frames({ how, count }) {
  const host = /** @type {any} */ (window);
  const canvas = document.getElementById('timeline');
  const box = canvas?.getBoundingClientRect();
  const move = host.benchMove ?? ((/** @type {string} */ kind, /** @type {number} */ step) => {
    const deltaY = step % 40 < 20 ? 60 : -60;
    if (kind === 'scroll') /** @type {HTMLElement} */ (document.getElementById('list')).scrollTop += deltaY * 20;
    else canvas?.dispatchEvent(new WheelEvent('wheel', { deltaY, shiftKey: kind === 'pan', clientX: (box?.left ?? 0) + 300, clientY: 400, cancelable: true }));
  });
  /** @type {number[]} */
  const times = [];
  for (let step = 0; step <= count; step += 1) {
    move(how, step);
    times.push(await new Promise((done) => { requestAnimationFrame(() => done(performance.now())); }));
  }
  const intervals = times.slice(1).map((time, index) => time - times[index]).sort((a, b) => a - b);
  return { median: intervals[Math.floor(count * 0.5)], p95: intervals[Math.floor(count * 0.95)], worst: intervals[count - 1] };
}

/** Types a filter; resolves with the ms until its result is on the screen. @param {string} text */
export async function nextPaint(text) {
  const filter = /** @type {HTMLInputElement} */ (document.getElementById('filter'));
  const began = performance.now();
  filter.value = text;
  filter.dispatchEvent(new Event('input', { bubbles: true }));
  await new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); });
  return performance.now() - began;
}

/** Shows the bars of a recording by vis-timeline; resolves with the ms until they are painted. @param {number} attempts */
export async function showVis(attempts) {
  const host = /** @type {any} */ (window);
  const begin = Date.now() - 4_000_000;
  /** @type {Map<number, object>} */
  const items = new Map();
  for (const text of host.benchEvents(attempts, begin)) {
    const { attempt, time_unix_nano: time, tcp, network } = JSON.parse(text);
    const [start, end] = [tcp.connect.start_unix_nano, time].map((nano) => Number(nano.slice(0, -6)));
    items.set(attempt, { id: attempt, start, end: Math.max(end, start + 1), content: network.peer.address });
  }
  const began = performance.now();
  const timeline = new host.vis.Timeline(document.body, new host.vis.DataSet([...items.values()]), { height: '780px', stack: false });
  const [from, to] = [begin, begin + attempts * 36];
  timeline.setWindow(from, to, { animation: false });
  await new Promise((done) => { timeline.on('changed', done); });
  await new Promise((done) => { requestAnimationFrame(() => requestAnimationFrame(done)); });
  host.benchMove = (/** @type {string} */ how, /** @type {number} */ step) => {
    const turn = step % 40 < 20 ? step % 20 : 20 - (step % 20);
    const length = (to - from) * (how === 'zoom' ? 0.9 ** turn : 1);
    const middle = (from + to) / 2 + (how === 'zoom' ? 0 : turn * (to - from) * 0.01);
    timeline.setWindow(middle - length / 2, middle + length / 2, { animation: false });
  };
  return performance.now() - began;
}
