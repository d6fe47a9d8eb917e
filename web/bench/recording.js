// A recording as a bad night leaves it: storms of refusals, peers that are silent, and retransmits throughout.
// Runs in Node and, as text, in the page.

/**
 * @typedef {object} Recording
 * @property {string[]} messages each the text of one `events` message
 * @property {number} events
 */

/** Events in one message of the stream. */
export const BATCH = 256;

/** @param {number} seed */
function dice(seed) {
  let state = seed;
  return (/** @type {number} */ below) => {
    state = (state * 48271) % 2147483647;
    return state % below;
  };
}

/** @param {number} length @param {string} name @param {string | undefined} module */
function frames(length, name, module) {
  return JSON.stringify(Array.from({ length }, (_, index) => ({
    address: `0x${(0x7f3a12345678 + index * 0x1337).toString(16)}`, function: `${name}_${index}`, offset: index * 17,
    ...(module ? { module, module_offset: 1_085_048 + index } : {}),
  })));
}

/**
 * The events of `attempts` attempts as JSON, in the order a kernel would tell them, from `begin` on.
 * One attempt in three has retransmits, a second apart and then doubling.
 * @param {number} attempts @param {number} begin ms since the epoch @param {number} [every] ms between two starts
 * @returns {Generator<string>}
 */
export function* events(attempts, begin, every = 36) {
  const random = dice(4711);
  const user = ['curl', 'envoy', 'nginx', 'java', 'python3'].map((comm) => [comm, frames(9, `${comm}_call`, `/usr/lib/lib${comm}.so.1`)]);
  const kernel = ['tcp_write_timeout', 'tcp_reset', 'tcp_retransmit_timer'].map((name) => frames(11, name, undefined));
  /** Told later than the attempts that begin next. @type {{ at: number, text: (seq: number) => string }[]} */
  let due = [];
  let seq = 0;
  for (let attempt = 1; attempt <= attempts; attempt += 1) {
    const start = begin + attempt * every;
    // Storms: the same peer for some hundreds of attempts.
    const peer = (attempt >> 8) % 4 === 0 ? 7 : random(60);
    const [comm, stack] = user[peer % user.length];
    const retries = attempt % 3 === 0 ? 1 + random(4) : 0;
    const cause = retries > 0 ? ['timeout', 'closed_by_app', 'host_unreachable'][random(3)] : 'refused';
    const told = (/** @type {string} */ event, /** @type {number} */ after, /** @type {number} */ retransmits, /** @type {number} */ where) => (/** @type {number} */ number) =>
      `{"seq":${number},"time_unix_nano":"${start + after}123456","event":"${event}","attempt":${attempt},`
      + `"network":{"transport":"tcp","type":"ipv4","local":{"address":"10.0.0.5","port":${32_768 + (attempt % 28_000)}},"peer":{"address":"10.1.${peer}.7","port":443}},`
      + `"process":{"pid":${1000 + peer},"tid":${1000 + peer},"comm":"${comm}","user":{"id":33},"cgroup":"/system.slice/${comm}.service","netns":4026531840},`
      + `${event === 'connect.failed' ? '"error":{"type":"ECONNREFUSED"},' : ''}`
      + `"tcp":{"connect":{"start_unix_nano":"${start}000000","duration_ms":${after}.4,"syn_retransmits":${retransmits}${event === 'connect.failed' ? `,"cause":"${cause}","errno":111` : ''},"stale_peer":false,"challenges":0}},`
      + `"diagnosis":{"summary":"10.1.${peer}.7:443 ended it with ${cause} after ${after} ms.","next":"Look at the service behind it."},`
      + `"systemd":{"unit":"${comm}.service"},"stack":{"user":${stack},"kernel":${kernel[where]}}}`;
    let after = 0;
    for (let retry = 0; retry < retries; retry += 1) {
      after += 1000 * 2 ** retry;
      due.push({ at: start + after, text: told('connect.retransmit', after, retry + 1, 2) });
    }
    due.push({ at: start + after + 3, text: told('connect.failed', after + 3, retries, retries > 0 ? 0 : 1) });
    if (attempt % 64 > 0 && attempt < attempts) continue;
    due.sort((a, b) => a.at - b.at);
    const told64 = attempt === attempts ? due.length : due.findIndex(({ at }) => at > start);
    for (const { text } of due.splice(0, told64 < 0 ? due.length : told64)) yield text(seq += 1);
  }
}
