// The filter box: words that must all fit, `key:value` for one property, a minus for "not". Pure.

import { outcomeKey, outcomeOf } from './causes.js';
import { endpoint, processName } from './format.js';

/** @typedef {import('./attempts.js').Attempt} Attempt */

/** Each property's texts; a value fits if it stands anywhere in one of them. @type {Record<string, (attempt: Attempt) => (string | number | undefined)[]>} */
const PROPERTIES = {
  cause: (attempt) => [outcomeKey(attempt), outcomeOf(outcomeKey(attempt)).label],
  peer: ({ network }) => [endpoint(network.peer)],
  comm: ({ process }) => [processName(process)],
  container: ({ around, process }) => [around.container?.id, around.k8s?.pod.uid, around.systemd?.unit, process?.cgroup],
};

/** These fit whole. @type {Record<string, (attempt: Attempt) => string | number | undefined>} */
const EXACT = {
  port: ({ network }) => network.peer?.port,
  pid: ({ process }) => process?.pid,
  netns: ({ process }) => process?.netns,
};

export const FILTER_KEYS = [...Object.keys(PROPERTIES), ...Object.keys(EXACT)];

/** @param {string} term @returns {(attempt: Attempt) => boolean} */
function test(term) {
  if (term.startsWith('-') && term.length > 1) {
    const other = test(term.slice(1));
    return (attempt) => !other(attempt);
  }
  const [, key, value] = /^(\w+):(.+)$/.exec(term) ?? [];
  if (Object.hasOwn(EXACT, key)) return (attempt) => String(EXACT[key](attempt)) === value;
  const wanted = Object.hasOwn(PROPERTIES, key) ? [PROPERTIES[key]] : Object.values(PROPERTIES);
  const part = (Object.hasOwn(PROPERTIES, key) ? value : term).toLowerCase();
  return (attempt) => wanted.some((texts) => texts(attempt).some((text) => text !== undefined && String(text).toLowerCase().includes(part)));
}

/** Quotes hold a value with spaces together. @param {string} text @returns {((attempt: Attempt) => boolean) | null} null when all fit */
export function parseFilter(text) {
  const terms = (text.match(/(?:[^\s"]|"[^"]*")+/g) ?? []).map((term) => term.replaceAll('"', '')).filter((term) => term !== '');
  if (terms.length === 0) return null;
  const tests = terms.map(test);
  return (attempt) => tests.every((fits) => fits(attempt));
}

/** A filter that finds attempts like this one. @param {Attempt} attempt */
export function filterFor(attempt) {
  const name = processName(attempt.process);
  return `cause:${outcomeKey(attempt)} peer:${endpoint(attempt.network.peer)} comm:${/\s/.test(name) ? `"${name}"` : name}`;
}
