// Numbers, times and hostile text as people read them. Pure.

const CONTROL = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/**
 * Text from the kernel (a thread's name, a path) may hold anything its owner chose. Control characters
 * and those that reorder or hide text are replaced by something that can be seen.
 * @param {string} text
 */
export function visible(text) {
  return text.replace(CONTROL, (character) => {
    const code = character.charCodeAt(0);
    return `‹U+${code.toString(16).toUpperCase().padStart(4, '0')}›`;
  });
}

/**
 * Nanoseconds in a string to milliseconds: a double keeps a quarter of a microsecond of them.
 * @param {string} nanoseconds
 */
export function millis(nanoseconds) {
  if (nanoseconds.length <= 6) return Number(nanoseconds) / 1e6;
  return Number(nanoseconds.slice(0, -6)) + Number(nanoseconds.slice(-6)) / 1e6;
}

/**
 * A length of time with three significant digits: `0.420 ms`, `12.3 ms`, `4.01 s`, `2 min 05 s`.
 * @param {number} ms
 * @returns {string}
 */
export function duration(ms) {
  if (!Number.isFinite(ms)) return '—';
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms < 999.5) return `${threeDigits(ms)} ms`;
  if (ms < 59_950) return `${threeDigits(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${pad(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${pad(Math.floor((seconds % 3600) / 60))} min`;
}

/** @param {number} value */
function threeDigits(value) {
  if (value >= 99.95) return value.toFixed(0);
  if (value >= 9.995) return value.toFixed(1);
  if (value >= 0.9995) return value.toFixed(2);
  return value.toFixed(3);
}

/** @param {number} value @param {number} [width] */
function pad(value, width = 2) {
  return String(value).padStart(width, '0');
}

/**
 * Local time of day, `14:03:07.125`; digits after the point as asked for.
 * @param {number} ms milliseconds since the epoch
 * @param {number} [digits] up to 6
 */
export function clock(ms, digits = 3) {
  const date = new Date(ms);
  const whole = `${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}`;
  if (digits === 0) return whole;
  const micros = date.getMilliseconds() * 1000 + Math.floor((ms - Math.floor(ms)) * 1000);
  return `${whole}.${pad(micros, 6).slice(0, digits)}`;
}

/** @param {number} ms milliseconds since the epoch */
export function dateTime(ms) {
  const date = new Date(ms);
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clock(ms)}`;
}

/** @param {import('../../types/wire').Endpoint | undefined} endpoint */
export function endpoint(endpoint) {
  if (!endpoint) return 'unknown';
  const address = visible(endpoint.address);
  const host = address.includes(':') ? `[${address}]` : address;
  // Before the kernel has chosen a local port it is 0.
  return endpoint.port === 0 ? host : `${host}:${endpoint.port}`;
}

/** @param {import('../../types/wire').Process | undefined} process */
export function processName(process) {
  if (!process) return 'unknown process';
  return process.comm ? visible(process.comm) : `pid ${process.pid}`;
}

/** Thousands apart by a narrow space. @param {number} value */
export function count(value) {
  return String(value).replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

/** @param {number} value @param {string} one @param {string} [many] */
export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}
