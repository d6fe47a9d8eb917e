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
  if (text('max_events')) request.max_events = numeric(text('max_events'));
  return request;
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
