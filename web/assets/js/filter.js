// The filter language, as the server takes it apart: whether an attempt is meant. Pure. The server's own answer to
// the same filter is server/src/filter/eval.rs.

import { outcomeKey } from './causes.js';
import { millis } from './format.js';
import { addressBits, holds } from './network.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 * @typedef {import('../../types/wire').FilterTerm} Term
 * @typedef {import('../../types/wire').FilterField} Field
 * @typedef {import('../../types/wire').FilterValue} Value
 * @typedef {(attempt: Attempt, now: number) => boolean} Test
 */

/** Where an attempt of this page has what the API's has at the first member of a path. @type {Record<string, (attempt: Attempt, now: number) => unknown>} */
const ROOTS = {
  attempt: ({ id }) => id,
  state: ({ state }) => state,
  duration_ms: ({ start, end }, now) => (end ?? now) - start,
  start_unix_nano: ({ start }) => start,
  network: ({ network }) => network,
  process: ({ process }) => process,
  error: ({ error }) => ({ type: error }),
  tcp: (attempt) => attempt,
};

/** @param {string} path @returns {(attempt: Attempt, now: number) => any} */
function reader(path) {
  const [root, ...members] = path.split('.');
  const first = Object.hasOwn(ROOTS, root) ? ROOTS[root] : (/** @type {Attempt} */ { around }) => /** @type {Record<string, unknown>} */ (around)[root];
  return (attempt, now) => members.reduce((value, member) => /** @type {any} */ (value)?.[member], /** @type {unknown} */ (first(attempt, now)));
}

/** @type {Record<string, (fact: number, value: number) => boolean>} */
const COMPARE = {
  '=': (fact, value) => fact === value,
  '>': (fact, value) => fact > value,
  '>=': (fact, value) => fact >= value,
  '<': (fact, value) => fact < value,
  '<=': (fact, value) => fact <= value,
};

/** @param {string} op @param {Value} value @returns {(fact: any) => boolean} */
function textFits(op, value) {
  const wanted = String(value);
  if (op !== '~') return (fact) => fact === wanted;
  const part = wanted.toLowerCase();
  return (fact) => typeof fact === 'string' && fact.toLowerCase().includes(part);
}

/** @param {string} op @param {Value} value @returns {(fact: any) => boolean} */
function numberFits(op, value) {
  if (typeof value === 'object') return (fact) => 'from' in value && fact >= value.from && fact <= value.to;
  return (fact) => typeof fact === 'number' && COMPARE[op](fact, Number(value));
}

/** @param {Value} value @returns {(fact: any) => boolean} */
function networkFits(value) {
  const [address, prefix] = String(value).split('/');
  const network = addressBits(address);
  return (fact) => typeof fact === 'string' && network !== null && holds(network, prefix === undefined ? network.length * 16 : Number(prefix), fact);
}

/** @param {string} field @param {Value} value @param {() => number} now @returns {(fact: any) => boolean} */
function timeFits(field, value, now) {
  const limit = () => (typeof value !== 'object' ? NaN : 'ago_ms' in value ? now() - value.ago_ms : 'unix_nano' in value ? millis(value.unix_nano) : NaN);
  return field === 'until' ? (fact) => fact <= limit() : (fact) => fact >= limit();
}

/** @param {Field} field @param {string} op @param {Value} value @param {() => number} now */
function fits({ kind, name }, op, value, now) {
  switch (kind) {
    case 'number':
    case 'duration': return numberFits(op, value);
    case 'network': return networkFits(value);
    case 'time': return timeFits(name, value, now);
    case 'flag': return (/** @type {any} */ fact) => fact === value;
    default: return textFits(op, value);
  }
}

/** @param {Term} term @param {ReadonlyMap<string, Field>} fields @returns {Test} */
function compile(term, fields) {
  const field = fields.get(term.field);
  // A newer server's field holds nothing that this page knows.
  if (!field) return () => term.not;
  const asked = field.searches?.map((name) => fields.get(name)?.path ?? '') ?? [field.path ?? ''];
  const readers = asked.map(reader);
  let current = 0;
  const tests = term.values.map((value) => fits(field, term.op, value, () => current));
  return (attempt, now) => {
    current = now;
    const one = readers.some((read) => {
      const fact = read(attempt, now);
      return fact !== undefined && tests.some((test) => test(fact));
    });
    return one !== term.not;
  };
}

/** @param {readonly Term[]} terms @param {readonly Field[]} fields @returns {Test | null} null when all are meant */
export function compileFilter(terms, fields) {
  if (terms.length === 0) return null;
  const known = new Map(fields.map((field) => [field.name, field]));
  const tests = terms.map((term) => compile(term, known));
  return (attempt, now) => tests.every((test) => test(attempt, now));
}

/** How many of the newest attempts are looked at for what could be typed. */
const SAMPLE = 2000;

/**
 * Values that attempts have of a field, the most frequent first, as the language writes them.
 * @param {import('./attempts.js').AttemptStore | undefined} attempts @param {Field} field
 */
export function frequent(attempts, { path = '' }) {
  const read = reader(path);
  /** @type {Map<string, number>} */
  const counts = new Map();
  const size = attempts?.size ?? 0;
  for (let lane = Math.max(0, size - SAMPLE); lane < size; lane += 1) {
    const attempt = attempts?.at(lane);
    const fact = attempt && read(attempt, 0);
    if (typeof fact === 'string' || (typeof fact === 'number' && Number.isInteger(fact))) counts.set(quoted(fact), (counts.get(quoted(fact)) ?? 0) + 1);
  }
  return [...counts].sort((a, b) => b[1] - a[1]).map(([value]) => value);
}

/** A value as the language wants it written. @param {string | number} value */
export function quoted(value) {
  const text = String(value);
  return /^[^\s,"]+$/.test(text) ? text : `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

/** What tells an attempt from others, as terms; without those that are not known. @param {Attempt} attempt @returns {Record<string, string>} */
export function termsOf(attempt) {
  const { network: { peer }, process, around: { container, k8s, systemd } } = attempt;
  /** @type {Record<string, string | number | undefined>} */
  const known = {
    [attempt.state === 'failed' ? 'cause' : 'outcome']: outcomeKey(attempt),
    peer: peer?.address, port: peer?.port, comm: process?.comm, pid: process?.pid, netns: process?.netns,
    container: container?.id, pod: k8s?.pod.uid, unit: systemd?.unit,
  };
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined).map(([name, value]) => [name, `${name}=${quoted(value ?? '')}`]));
}

/** A filter that finds attempts like this one. @param {Attempt} attempt */
export function filterFor(attempt) {
  const { cause, outcome, peer, port, comm } = termsOf(attempt);
  return [cause ?? outcome, peer, port, comm].filter((term) => term).join(' ');
}

/** A filter narrowed by one term more; what it said of the same before is not said twice. @param {string} filter @param {string} term @param {boolean} not */
export function narrowed(filter, term, not) {
  const wanted = not ? `-${term}` : term;
  return filter.split(' ').includes(wanted) ? filter : `${filter.trim()} ${wanted}`.trim();
}
