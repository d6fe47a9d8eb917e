// From what was typed into the start panel to a trace request. Pure. The server judges; what does not look
// like a number is sent as it is, so that its answer can name the field.

/** @param {string} text */
function words(text) {
  return text.split(/[\s,]+/).filter((word) => word !== '');
}

/** @param {string} word */
function numeric(word) {
  return /^\d{1,15}$/.test(word) ? Number(word) : word;
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `90`, `15m`, `2h`, `1d` as seconds. @param {string} text */
export function seconds(text) {
  const match = /^(\d{1,9})\s*([smhd])?$/.exec(text.trim());
  if (!match) return text.trim();
  return Number(match[1]) * SECONDS[/** @type {keyof typeof SECONDS} */ (match[2] ?? 's')];
}

const NUMBERS = ['pid', 'uid', 'netns', 'peer_port', 'local_port', 'cgroup'];
const TEXTS = ['peer'];

/**
 * @param {Map<string, string | boolean>} typed by the names of the form's fields
 * @returns {Record<string, unknown>}
 */
export function traceRequest(typed) {
  const text = (/** @type {string} */ name) => String(typed.get(name) ?? '').trim();
  /** @type {Record<string, unknown>} */
  const filter = {};
  for (const name of NUMBERS) {
    const list = words(text(`filter.${name}`)).map(numeric);
    if (list.length > 0) filter[name] = list;
  }
  for (const name of TEXTS) {
    const list = words(text(`filter.${name}`));
    if (list.length > 0) filter[name] = list;
  }
  // A thread's name may hold spaces: only commas separate.
  const comms = text('filter.comm').split(',').map((comm) => comm.trim()).filter((comm) => comm !== '');
  if (comms.length > 0) filter.comm = comms;
  if (text('filter.family')) filter.family = text('filter.family');

  /** @type {Record<string, unknown>} */
  const request = {};
  for (const name of ['starts', 'stacks', 'drops']) request[name] = typed.get(name) === true;
  if (text('name')) request.name = text('name');
  if (Object.keys(filter).length > 0) request.filter = filter;
  if (text('slow_ms')) request.slow_ms = numeric(text('slow_ms'));
  if (text('ttl_s')) request.ttl_s = seconds(text('ttl_s'));
  if (text('recorder.filter')) {
    request.recorder = { filter: text('recorder.filter'), before_s: numeric(text('recorder.before_s')), after_s: numeric(text('recorder.after_s')) };
  }
  if (text('max_events')) request.max_events = numeric(text('max_events'));
  return request;
}

const PORTS = /^(\d{1,5})(?:-(\d{1,5}))?$/;

/** @param {string} word */
function isPort(word) {
  const [, from, to = from] = PORTS.exec(word) ?? [];
  return from !== undefined && Number(from) <= Number(to) && Number(to) <= 65_535;
}

/** @param {string} word */
function isAddress(word) {
  const [address, prefix, rest] = word.split('/');
  const four = /^\d{1,3}(\.\d{1,3}){3}$/.test(address) && address.split('.').every((part) => Number(part) < 256);
  const six = /^[\da-f:.]*:[\da-f:.]*$/i.test(address);
  const fits = prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (four ? 32 : 128));
  return (four || six) && fits && rest === undefined;
}

/** @type {[RegExp, (word: string) => boolean, string][]} */
const CHECKS = [
  [/peer$/, isAddress, 'An address or a CIDR, as 203.0.113.7 or 2001:db8::/32'],
  [/_port$/, isPort, 'Ports from 0 to 65535, as 22 or 8000-9000'],
  [/pid$|uid$|netns$|slow_ms$|max_events$|before_s$|after_s$/, (word) => /^\d{1,15}$/.test(word), 'A whole number'],
];

/** What is plainly wrong with what was typed; the server judges the rest. @param {string} name @param {string} value */
export function fieldProblem(name, value) {
  if (name === 'ttl_s') return value.trim() === '' || typeof seconds(value) === 'number' ? null : 'Seconds, or a number with s, m, h or d';
  if (name === 'filter.comm') return value.split(',').some((comm) => new TextEncoder().encode(comm.trim()).length > 15) ? 'The kernel keeps 15 bytes of a name' : null;
  const check = CHECKS.find(([names]) => names.test(name));
  return check && !words(value).every(check[1]) ? `${check[2]}.` : null;
}

/**
 * The form's field that a problem's `field` names: `filter.peer[1]` and `filter.peer` are both the peer's.
 * @param {string | undefined} field @param {string[]} names
 */
export function fieldNamed(field, names) {
  if (!field) return null;
  const bare = field.replace(/^\$?[./]/, '').replaceAll('/', '.').replace(/\[.*$/, '').replace(/\.\d+$/, '');
  return names.find((name) => name === bare || name === `filter.${bare}`) ?? null;
}
