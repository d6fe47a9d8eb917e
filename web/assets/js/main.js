// The page: which of its views is shown, which trace is watched, and when to draw.

import { Api, Refused, Unreachable } from './api.js';
import { historyWords, missCapabilities, showCapabilities } from './capabilities.js';
import { byId, kindById, setAttribute, setText } from './dom.js';
import { listenKeys } from './keys.js';
import { Past, offerExport } from './past.js';
import { parseRoute, showRoute } from './route.js';
import { Session } from './session.js';
import { Stage } from './stage.js';
import { StartPanel } from './start.js';
import { drawStatus } from './status.js';
import { Switcher } from './switcher.js';
import { adoptToken, forgetToken, keepToken, tokenIn } from './token.js';

/** @typedef {'start' | 'token' | 'trace' | 'none'} ViewName */

const POLL = 5000;
/** Polls from one look at the history's state to the next. */
const LEARN = 6;
const ADDRESS_DELAY = 200;
const VIEWS = /** @type {const} */ (['start', 'token', 'trace']);

class App {
  /** @type {Api | null} */
  #api = null;
  /** @type {Session | null} */
  #session = null;
  /** @type {import('../../types/wire').Trace[]} */
  #traces = [];
  #reachable = true;
  /** @type {ViewName} */
  #view = 'none';
  #drawing = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #due;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #address;
  #routed = '';
  #stage = new Stage(() => this.#request(), () => this.#api);
  #start = new StartPanel((request) => this.#startTrace(request), (error) => this.#handled(error), () => this.#showView('trace'));
  #switcher = new Switcher((id) => this.#open(id));
  #past = new Past(() => this.#api, (id) => this.#openNew(id), (error) => this.#handled(error));
  /** @type {import('../../types/wire').History | undefined} */
  #history;
  #polls = 0;

  constructor() {
    byId('new-trace').addEventListener('click', () => this.#showStart());
    byId('stop').addEventListener('click', () => this.#stop());
    byId('token-form').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#enterToken();
    });
    // A fresh URL pasted into this tab, or a link to another trace.
    addEventListener('hashchange', () => this.#begin());
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) return;
      this.#session?.retry();
      this.#request();
    });
    addEventListener('online', () => this.#session?.retry());
    offerExport(() => this.#api, () => this.#session?.id ?? null);
    listenKeys(() => (this.#view === 'trace' ? this.#stage.keys : null));
    setInterval(() => this.#poll(), POLL);
    byId('app').hidden = false;
    this.#begin();
  }

  async #begin() {
    const token = adoptToken();
    if (!token) {
      this.#askToken('Traces show who talks to whom on this host, so reading them takes the token that the server printed when it started.');
      return;
    }
    this.#api = new Api(token);
    if (!(await this.#poll())) return;
    this.#learnCapabilities();
    const { trace, attempt, look } = parseRoute(location.hash);
    const known = this.#traces.find((candidate) => candidate.id === trace);
    const running = this.#traces.find((candidate) => candidate.state === 'running' || candidate.state === 'armed');
    const chosen = known ?? running ?? this.#traces[0];
    if (chosen) {
      this.#open(chosen.id, known ? attempt : null);
      if (known) this.#stage.restore(look);
    }
    else this.#showStart();
  }

  /** Learns which traces there are; says whether the server answered. */
  async #poll() {
    if (!this.#api || this.#view === 'token') return false;
    try {
      this.#traces = await this.#api.traces();
      this.#session?.saw(this.#traces.find(({ id }) => id === this.#session?.id));
      if (!this.#reachable) this.#session?.retry();
      this.#polls += 1;
      if (this.#polls % LEARN === 0) this.#learnCapabilities();
      this.#reachable = true;
      if (this.#view === 'none') this.#showView('start');
    } catch (error) {
      this.#reachable = !(error instanceof Unreachable);
      if (!this.#handled(error) && this.#view === 'none') this.#showView('start');
      this.#request();
      return false;
    }
    this.#request();
    return true;
  }

  /** @param {string} id @param {number | null} [attempt] */
  #open(id, attempt = null) {
    if (!this.#api || !id) return;
    if (this.#session?.id !== id) {
      this.#session?.close();
      this.#session = new Session(this.#api, id, () => this.#sessionChanged());
      this.#stage.show(this.#session, attempt);
    } else if (attempt !== null) {
      this.#stage.want(attempt);
    }
    this.#showView('trace');
  }

  /** A trace that the last poll may not have seen. @param {string} id */
  async #openNew(id) {
    await this.#poll();
    this.#open(id);
  }

  #sessionChanged() {
    if (this.#session?.connection.phase === 'unauthorised') this.#refuseToken();
    this.#request();
  }

  /** Browsers refuse an address that changes with every frame. */
  #route() {
    clearTimeout(this.#address);
    this.#address = setTimeout(() => {
      if (this.#session) showRoute({ trace: this.#session.id, attempt: this.#stage.shown, look: this.#stage.look });
    }, ADDRESS_DELAY);
  }

  /** @param {object} request */
  async #startTrace(request) {
    if (!this.#api) return;
    const trace = await this.#api.start(request);
    this.#traces = [trace, ...this.#traces];
    this.#open(trace.id);
  }

  async #stop() {
    const button = kindById('stop', HTMLButtonElement);
    button.disabled = true;
    try {
      await this.#session?.stop();
      await this.#poll();
    } catch (error) {
      // An unreachable server is told by the connection's state.
      this.#handled(error);
    } finally {
      button.disabled = false;
    }
  }

  /** Deals with the errors that concern the whole page. @param {unknown} error */
  #handled(error) {
    if (!(error instanceof Refused) || !error.unauthorised) return false;
    this.#refuseToken();
    return true;
  }

  #refuseToken() {
    if (this.#view === 'token') return;
    forgetToken();
    this.#askToken('The server does not accept the token that this page has. It prints a new one at each start, unless SYNSCOPE_TOKEN fixes it.');
  }

  /** @param {string} reason */
  #askToken(reason) {
    this.#session?.close();
    this.#session = null;
    setText(byId('token-reason'), reason);
    this.#showView('token');
    byId('token-input').focus();
  }

  #enterToken() {
    const input = kindById('token-input', HTMLInputElement);
    const token = tokenIn(input.value);
    const problem = byId('token-problem');
    problem.hidden = token !== null;
    setText(problem, 'That is neither a token nor a URL that holds one after "#token=".');
    if (!token) return;
    input.value = '';
    keepToken(token);
    this.#view = 'none';
    this.#begin();
  }

  async #learnCapabilities() {
    try {
      if (!this.#api) return;
      const capabilities = await this.#api.capabilities();
      showCapabilities(capabilities);
      this.#history = capabilities.history;
      setText(byId('history-state'), historyWords(this.#history));
      this.#request();
    } catch (error) {
      // Starting a trace will tell.
      missCapabilities();
      this.#handled(error);
    }
  }

  #showStart() {
    this.#learnCapabilities();
    byId('start-cancel').hidden = this.#session === null;
    this.#showView('start');
    byId('start-view').scrollTop = 0;
    this.#start.focus();
  }

  /** @param {ViewName} view */
  #showView(view) {
    this.#view = view;
    for (const name of VIEWS) byId(`${name}-view`).hidden = name !== view;
    this.#request();
  }

  #request() {
    if (this.#drawing) return;
    this.#drawing = true;
    clearTimeout(this.#due);
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#draw();
    });
  }

  #draw() {
    drawStatus(this.#session, this.#reachable, Date.now(), this.#history);
    this.#past.draw(this.#traces);
    this.#switcher.draw(this.#traces, this.#session?.id ?? null);
    byId('stop').hidden = !this.#session?.live;
    byId('export').hidden = this.#view !== 'trace';
    byId('new-trace').hidden = this.#view === 'start' || this.#view === 'token';
    setAttribute(document.body, 'data-view', this.#view);
    const due = this.#view === 'trace' ? this.#stage.draw() : null;
    const routed = JSON.stringify([this.#session?.id, this.#stage.shown, this.#stage.look]);
    if (routed !== this.#routed) this.#route();
    this.#routed = routed;
    // A countdown to the next attempt to connect also moves.
    const next = due ?? (this.#session?.connection.phase === 'reconnecting' ? 500 : null);
    if (next !== null) this.#due = setTimeout(() => this.#request(), next);
  }
}

new App();
