// The HTTP API, as docs/reference.md describes it.

/**
 * @typedef {import('../../types/wire').Trace} Trace
 * @typedef {import('../../types/wire').Problem} Problem
 */

/** The server did not answer at all. */
export class Unreachable extends Error {}

/** The server answered with an error. */
export class Refused extends Error {
  /** @param {Problem} problem */
  constructor(problem) {
    super(problem.detail ?? problem.title ?? `The server answered ${problem.status}.`);
    this.problem = problem;
  }

  get unauthorised() {
    return this.problem.status === 401;
  }

  get missing() {
    return this.problem.status === 404;
  }
}

export class Api {
  #token;
  #fetch;

  /** @param {string} token @param {typeof fetch} [fetcher] */
  constructor(token, fetcher = globalThis.fetch.bind(globalThis)) {
    this.#token = token;
    this.#fetch = fetcher;
  }

  /** @returns {Promise<Trace[]>} */
  async traces() {
    return (await this.#call('GET', '/api/v1/traces')).traces;
  }

  /** @returns {Promise<import('../../types/wire').Capabilities>} */
  capabilities() {
    return this.#call('GET', '/api/v1/capabilities');
  }

  /** The filter taken apart. @param {string} text @returns {Promise<import('../../types/wire').FilterAnswer>} */
  filter(text) {
    return this.#call('GET', `/api/v1/filter?q=${encodeURIComponent(text)}`);
  }

  /** What can be typed into a filter. @returns {Promise<import('../../types/wire').FilterField[]>} */
  async filterFields() {
    return (await this.#call('GET', '/api/v1/filter/fields')).fields;
  }

  /** @param {string} id @returns {Promise<Trace>} */
  trace(id) {
    return this.#call('GET', `/api/v1/traces/${encodeURIComponent(id)}`);
  }

  /** @param {object} request @returns {Promise<Trace>} */
  start(request) {
    return this.#call('POST', '/api/v1/traces', request);
  }

  /** @param {string} id @returns {Promise<Trace>} */
  stop(id) {
    return this.#call('POST', `/api/v1/traces/${encodeURIComponent(id)}/stop`);
  }

  /** A trace from a file as `export` gives it. @param {Blob} file @param {string} name @returns {Promise<Trace>} */
  async import(file, name) {
    return (await this.#ask('POST', `/api/v1/traces/import?name=${encodeURIComponent(name)}`, file, 'application/x-ndjson')).json();
  }

  /** The whole trace as a file. @param {string} id @param {string} format */
  async export(id, format) {
    return (await this.#ask('GET', `/api/v1/traces/${encodeURIComponent(id)}/export?format=${format}`)).blob();
  }

  /**
   * A browser cannot set headers on a WebSocket: the token travels as a subprotocol.
   * @param {string} id @param {number} after
   */
  socket(id, after) {
    const url = new URL(`/api/v1/traces/${encodeURIComponent(id)}/stream?after=${after}`, location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    url.hash = '';
    return new WebSocket(url, ['synscope.v1', `synscope.token.${this.#token}`]);
  }

  /** @param {string} method @param {string} path @param {object} [body] */
  async #call(method, path, body) {
    return (await this.#ask(method, path, body && JSON.stringify(body))).json();
  }

  /** @param {string} method @param {string} path @param {string | Blob} [body] @param {string} [type] */
  async #ask(method, path, body, type = 'application/json') {
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${this.#token}` };
    if (body !== undefined) headers['Content-Type'] = type;
    let response;
    try {
      response = await this.#fetch(path, { method, headers, body, cache: 'no-store' });
    } catch (error) {
      throw new Unreachable(String(error));
    }
    if (!response.ok) throw new Refused(await problemOf(response));
    return response;
  }
}

/** @param {Response} response @returns {Promise<Problem>} */
async function problemOf(response) {
  try {
    return { ...(await response.json()), status: response.status };
  } catch {
    return { status: response.status, title: `The server answered ${response.status} ${response.statusText}` };
  }
}
