// The view of one trace: table, timeline and drawer over one session, drawn together frame by frame.

import { ArrangePanel } from './arrange.js';
import { byId, kindById, setAttribute, setText } from './dom.js';
import { Drawer } from './drawer.js';
import { frequent } from './filter.js';
import { count, duration } from './format.js';
import { offerLooks } from './look.js';
import { NarrowMenu } from './narrow.js';
import { span } from './scale.js';
import { Rows, isHead } from './rows.js';
import { Strays } from './strays.js';
import { Strip } from './strip.js';
import { Table } from './table.js';
import { readTheme } from './theme.js';
import { Timeline } from './timeline.js';
import { View } from './view.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 * @typedef {import('./session.js').Session} Session
 */

const PAN_SHARE = 0.2;
const ZOOM_STEP = 0.7;

export class Stage {
  view;
  rows = new Rows();
  table;
  timeline;
  drawer;
  strays;
  strip;
  /** @type {Session | null} */
  #session = null;
  /** @type {number | null} */
  #wanted = null;
  arrange;
  #narrow;
  #element = byId('stage');
  #list = byId('list');
  #theme;
  #request;
  /** Attempts there were when following ended. */
  #pausedAt = 0;

  /** @param {() => void} request asks for a frame @param {() => import('./api.js').Api | null} api */
  constructor(request, api) {
    this.#request = request;
    this.view = new View(request);
    this.#theme = readTheme(this.#element);
    this.arrange = new ArrangePanel(this.rows, request, api, (field) => frequent(this.#session?.state.attempts, field));
    this.#narrow = new NarrowMenu(() => this.arrange.filter, (filter) => this.arrange.narrow(filter));
    /** @type {import('./timeline.js').Context['narrow']} */
    const narrow = (row, shown, at) => this.#narrow.open(row, shown, at);
    const shared = { view: this.view, rows: this.rows, theme: () => this.#theme, narrow };
    this.table = new Table(this.#list, byId('rows'), {
      ...shared, changed: request, open: (attempt, byKeyboard) => this.open(attempt, byKeyboard),
    });
    this.timeline = new Timeline(kindById('timeline', HTMLCanvasElement), byId('tooltip'), {
      ...shared, list: this.#list, state: () => this.#session?.state ?? null, live: () => this.#session?.fresh ?? false, open: (row) => this.#tapped(row),
    });
    /** @type {import('./dom.js').Links} */
    const links = { trace: () => this.#session?.id ?? '', knows: (id) => this.#session?.state.attempts.get(id) !== undefined, open: (id) => this.want(id) };
    this.drawer = new Drawer(byId('drawer'), () => this.close(), links, (attempt, at) => narrow(attempt, '', at));
    this.strays = new Strays(links);
    this.strip = new Strip(kindById('overview', HTMLCanvasElement), this.view, () => this.#theme);
    this.#controls();
    this.#watchLooks();
  }

  /** @param {Session | null} session @param {number | null} wanted an attempt to select once it is known */
  show(session, wanted) {
    this.#session = session;
    this.#wanted = wanted;
    this.table.clear();
    this.view.reset();
  }

  /** What a link needs to show the same. @returns {import('./route.js').Look} */
  get look() {
    const { domain, follow } = this.view;
    return { ...this.rows.arrangement, range: follow || domain.from <= 0 ? null : domain };
  }

  /** @param {import('./route.js').Look} look */
  restore({ range, ...arrangement }) {
    this.arrange.set(arrangement);
    if (range) this.view.set(range, false);
  }

  /** @param {number} attempt to select once it is known */
  want(attempt) {
    this.#wanted = attempt;
    this.#request();
  }

  get #now() {
    return this.#session?.horizon(Date.now()) ?? 0;
  }

  get #attempt() {
    const { attempts } = this.#session?.state ?? {};
    const { selected } = this.view;
    return attempts && typeof selected === 'number' ? attempts.at(selected - attempts.dropped) ?? null : null;
  }

  /** The attempt whose details are open. */
  get shown() {
    return this.#wanted ?? this.#attempt?.id ?? null;
  }

  /** @param {import('./rows.js').Row} row */
  #tapped(row) {
    if (!isHead(row)) {
      this.open(row, false);
      return;
    }
    this.rows.toggle(row.key);
    this.#request();
  }

  /** @param {Attempt} attempt @param {boolean} byKeyboard then the focus moves into the drawer */
  open(attempt, byKeyboard) {
    const state = this.#session?.state;
    if (!state) return;
    this.view.select(attempt.ordinal);
    this.view.reveal(attempt.start, attempt.end ?? this.#now);
    this.drawer.draw(attempt, this.#now);
    this.rows.reveal(attempt);
    this.table.show(this.rows.indexOf(attempt.ordinal));
    if (byKeyboard) this.drawer.focus();
  }

  /** Backs out of one thing: the chosen stretch, then the details. */
  back() {
    if (this.view.band) this.view.choose(null);
    else this.close();
  }

  close() {
    const key = this.view.selected;
    this.view.select(null);
    this.drawer.draw(null, 0);
    if (key !== null) this.table.focus(key);
  }

  /** To a row further on; with `attempts`, past the lines of groups and storms. @param {number} step @param {boolean} [attempts] */
  walk(step, attempts = false) {
    const { rows } = this;
    const from = rows.indexOf(this.view.selected);
    let index = from < 0 ? rows.size - 1 : from + step;
    while (attempts && rows.at(index) && isHead(rows.at(index))) index += step;
    if (attempts && !rows.at(index)) return;
    this.table.walk(index);
    const reached = this.#attempt;
    if (reached) this.open(reached, false);
    else this.drawer.draw(null, 0);
  }

  pin() {
    if (this.view.selected === null) return;
    this.rows.pin(this.view.selected);
    this.#request();
  }

  #menuOfSelected() {
    const row = this.rows.at(this.rows.indexOf(this.view.selected));
    if (!row) return;
    const { left, top } = this.table.boxOf(this.view.selected) ?? this.#list.getBoundingClientRect();
    this.#narrow.open(row, '', { x: left + 24, y: top + 24 });
  }

  fit() {
    const state = this.#session?.state;
    if (!state) return;
    const attempt = this.#attempt;
    const now = this.#now;
    const { band } = this.view;
    if (band) {
      this.view.choose(null);
      this.view.fit(band.from, band.to);
    } else if (attempt) this.view.fit(attempt.start, attempt.end ?? now);
    else if (state.attempts.size > 0) this.view.fit(state.attempts.earliest, Math.max(state.attempts.latest, this.#session?.live ? now : 0));
  }

  follow() {
    const on = !(this.view.follow && this.table.stick);
    this.table.stick = on;
    this.view.setFollow(on);
  }

  /** @returns {import('./keys.js').Keys} */
  get keys() {
    const step = () => span(this.view.domain) * PAN_SHARE;
    return {
      a: () => this.view.pan(-step()), d: () => this.view.pan(step()),
      ArrowLeft: () => this.view.pan(-step()), ArrowRight: () => this.view.pan(step()),
      w: () => this.timeline.zoomCentre(ZOOM_STEP), s: () => this.timeline.zoomCentre(1 / ZOOM_STEP),
      '+': () => this.timeline.zoomCentre(ZOOM_STEP), '-': () => this.timeline.zoomCentre(1 / ZOOM_STEP),
      f: () => this.fit(), l: () => this.follow(),
      m: () => this.#menuOfSelected(),
      '.': () => this.walk(1, true), ',': () => this.walk(-1, true), p: () => this.pin(),
      '/': () => byId('filter').focus(),
      ArrowDown: () => this.walk(1), ArrowUp: () => this.walk(-1),
      '?': () => kindById('help', HTMLDialogElement).showModal(),
      Escape: () => this.back(),
    };
  }

  /**
   * Draws everything. Returns after how many milliseconds the picture is out of date, or null when only a
   * new event can change it.
   */
  draw() {
    const session = this.#session;
    if (!session) return null;
    const { state } = session;
    const now = session.horizon(Date.now());
    const clock = performance.now();
    const unarranged = this.rows.update(state.attempts, clock, now);
    this.#adopt(state);
    this.view.place(state.attempts.earliest, now, session.live);
    if (!session.live && this.view.follow) this.view.follow = false;
    this.view.advance(now, state.begin);
    this.table.draw(now);
    this.timeline.draw(now);
    this.drawer.draw(this.#attempt, now);
    const uncounted = this.strip.draw(state, now, clock);
    this.strays.draw(state);
    this.#drawTools(session);
    this.#drawNothing(session);
    const due = Math.min(unarranged ?? Infinity, uncounted ?? Infinity, this.#moves(session));
    return Number.isFinite(due) ? due : null;
  }

  /** After how many ms something has moved. @param {Session} session */
  #moves(session) {
    if (!session.fresh) return Infinity;
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    // A frame is due when something has moved by half a pixel; a clock that counts moves 10 times a second.
    return calm ? 1000 : Math.min(100, Math.max(16, this.timeline.msPerPixel / 2));
  }

  /** @param {import('./state.js').TraceState} state */
  #adopt(state) {
    if (this.#wanted === null) return;
    const attempt = state.attempts.get(this.#wanted);
    if (!attempt) return;
    this.#wanted = null;
    this.open(attempt, false);
  }

  #controls() {
    byId('follow').addEventListener('click', () => this.follow());
    byId('zoom-in').addEventListener('click', () => this.timeline.zoomCentre(ZOOM_STEP));
    byId('zoom-out').addEventListener('click', () => this.timeline.zoomCentre(1 / ZOOM_STEP));
    byId('fit').addEventListener('click', () => this.fit());
    byId('help-button').addEventListener('click', () => kindById('help', HTMLDialogElement).showModal());
  }

  #watchLooks() {
    const refresh = () => {
      this.#theme = readTheme(this.#element);
      this.#request();
    };
    offerLooks(refresh);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', refresh);
    new ResizeObserver(refresh).observe(this.#element);
  }

  /** @param {Session} session */
  #drawTools(session) {
    const { view, table } = this;
    const following = view.follow && table.stick;
    const told = session.state.attempts.size + session.state.attempts.dropped;
    if (following || this.#pausedAt > told) this.#pausedAt = told;
    const button = kindById('follow', HTMLButtonElement);
    button.disabled = !session.live;
    setAttribute(button, 'aria-pressed', session.live ? String(following) : null);
    const since = told - this.#pausedAt;
    const words = !session.live ? 'Recorded' : !session.fresh ? 'No news' : following ? 'Live' : since > 0 ? `Paused, +${count(since)} since` : 'Paused';
    setText(byId('follow-label'), words);
    setAttribute(button, 'data-fresh', String(session.fresh));
    setText(byId('span'), duration(span(view.domain)));
  }

  /** @param {Session} session */
  #drawNothing({ state, live, connection }) {
    const element = byId('nothing');
    element.hidden = this.rows.size > 0;
    if (this.rows.hidden > 0) setText(element, `The filter hides all ${count(this.rows.hidden)} attempts.`);
    else if (!element.hidden) setText(element, nothingWords(state.counters, live, connection.phase));
  }
}

/** @param {import('../../types/wire').Counters | null} counters @param {boolean} live @param {string} phase */
function nothingWords(counters, live, phase) {
  if (phase === 'connecting') return 'Connecting…';
  const healthy = counters ? counters.attempts.quiet : 0;
  const seen = healthy > 0
    ? `${count(healthy)} connected quickly and needed no telling.`
    : 'No connect has been seen at all.';
  if (!live) return `No attempt was told before the trace ended. ${seen}`;
  return `Watching. Nothing has failed, been slow or been retried yet. ${seen}`;
}
