// The time axis: a domain in milliseconds shown on a number of pixels. Pure.

/** @typedef {{ from: number, to: number }} Domain */

export const MIN_SPAN = 0.05;
export const MAX_SPAN = 40 * 86_400_000;

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Steps that a clock is read in; below a second they are 1, 2 and 5 times a power of ten. */
const STEPS = [
  ...[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12].map((n) => n * HOUR),
  ...[1, 2, 7].map((n) => n * DAY),
];

/** @param {Domain} domain */
export function span(domain) {
  return domain.to - domain.from;
}

/** @param {Domain} domain @param {number} width @param {number} ms */
export function toPixel(domain, width, ms) {
  return ((ms - domain.from) / span(domain)) * width;
}

/** @param {Domain} domain @param {number} width @param {number} pixel */
export function toTime(domain, width, pixel) {
  return domain.from + (pixel / width) * span(domain);
}

/**
 * Zooms about a time, which stays where it is on the screen. A factor below 1 zooms in.
 * @param {Domain} domain @param {number} factor @param {number} about
 * @returns {Domain}
 */
export function zoom(domain, factor, about) {
  const wanted = span(domain) * factor;
  const bounded = Math.min(MAX_SPAN, Math.max(MIN_SPAN, wanted));
  const share = (about - domain.from) / span(domain);
  const from = about - share * bounded;
  return { from, to: from + bounded };
}

/** @param {Domain} domain @param {number} ms @returns {Domain} */
export function pan(domain, ms) {
  return { from: domain.from + ms, to: domain.to + ms };
}

/**
 * A domain that shows [from, to] with some air at both sides.
 * @param {number} from @param {number} to @param {number} [air] share of the width
 * @returns {Domain}
 */
export function fit(from, to, air = 0.05) {
  const length = Math.max(to - from, MIN_SPAN);
  return { from: from - length * air, to: to + length * air };
}

/**
 * Where to draw grid lines, at least `spacing` pixels apart, on round local times.
 * @param {Domain} domain @param {number} width @param {number} spacing
 * @param {number} [zone] minutes that local time is behind UTC
 * @returns {{ step: number, times: number[] }}
 */
export function ticks(domain, width, spacing, zone = new Date(domain.from).getTimezoneOffset()) {
  const least = (span(domain) * spacing) / width;
  const step = STEPS.find((candidate) => candidate >= least) ?? STEPS[STEPS.length - 1];
  const shift = step >= HOUR ? zone * MINUTE : 0;
  const times = [];
  // Counted rather than added up, so that rounding errors do not gather.
  const first = Math.ceil((domain.from - shift) / step);
  const last = Math.floor((domain.to - shift) / step);
  for (let index = first; index <= last && times.length < 200; index += 1) times.push(index * step + shift);
  return { step, times };
}

/** Digits after the second that tell neighbouring grid lines apart. @param {number} step */
export function tickDigits(step) {
  if (step >= SECOND) return 0;
  if (step >= 100) return 1;
  if (step >= 10) return 2;
  return step >= 1 ? 3 : 6;
}
