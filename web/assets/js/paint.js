// Draws one frame of the timeline. Knows pixels and colours, nothing of the page around it.

import { outcomeKey, outcomeOf } from './causes.js';
import { countColumns } from './overview.js';
import { clock, duration } from './format.js';
import { isHead, keyOf } from './rows.js';
import { span, tickDigits, ticks, toPixel } from './scale.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 *
 * @typedef {object} Scene
 * @property {number} width   CSS pixels, as everything here
 * @property {number} height
 * @property {import('./scale.js').Domain} domain
 * @property {import('./theme.js').Theme} theme
 * @property {{ row: import('./rows.js').Row, y: number }[]} lanes those in sight
 * @property {readonly import('./state.js').Loss[]} losses
 * @property {string | number | null} selected
 * @property {string | number | null} hovered
 * @property {import('./scale.js').Domain | null} band a stretch chosen by dragging
 * @property {number} now
 * @property {boolean} live
 * @property {number} begin  when the trace began
 */

export const TICK_SPACING = 90;
const GLYPH = 12;
const HATCH = 6;
/** Pixels of a bar in a group's lane, with the space after it. */
const COLUMN = 3;
/** Room that the interval between two SYNs needs to be written between their ticks. */
const INTERVAL_ROOM = 52;

/** Marks that are not ticks, as corners about their time. @type {Map<string, [number, number][]>} */
const SHAPES = new Map([
  ['connect.challenge', [[0, -6], [5, 0], [0, 6], [-5, 0]]],
  ['skb.drop', [[-5, -5], [5, -5], [0, 5]]],
]);

/** @type {Map<string, Path2D>} */
const GLYPHS = new Map();

/** @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
export function paint(ctx, scene) {
  ctx.clearRect(0, 0, scene.width, scene.height);
  ctx.font = scene.theme.font;
  const grid = ticks(scene.domain, scene.width, TICK_SPACING);
  untraced(ctx, scene);
  for (const lane of scene.lanes) background(ctx, scene, lane);
  for (const time of grid.times) gridLine(ctx, scene, time);
  for (const loss of scene.losses) lossBand(ctx, scene, loss);
  ctx.save();
  ctx.beginPath();
  ctx.rect(0, scene.theme.ruler, scene.width, scene.height - scene.theme.ruler);
  ctx.clip();
  for (const { row, y } of scene.lanes) {
    if (isHead(row)) density(ctx, scene, row, y);
    else drawLane(ctx, scene, row, y);
  }
  ctx.restore();
  ruler(ctx, scene, grid);
  if (scene.live) nowLine(ctx, scene);
  if (scene.band) bandOver(ctx, scene, scene.band);
}

/** @param {Scene} scene @param {number} time */
function x(scene, time) {
  return toPixel(scene.domain, scene.width, time);
}

/** Nothing was watched before the trace began. @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
function untraced(ctx, scene) {
  const edge = Math.min(scene.width, x(scene, scene.begin));
  if (edge <= 0) return;
  ctx.fillStyle = scene.theme.hover;
  ctx.fillRect(0, scene.theme.ruler, edge, scene.height);
}

/** @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {{ row: import('./rows.js').Row, y: number }} lane */
function background(ctx, scene, { row, y }) {
  const { theme } = scene;
  if (keyOf(row) === scene.selected) ctx.fillStyle = theme.selected;
  else if (keyOf(row) === scene.hovered) ctx.fillStyle = theme.hover;
  else ctx.fillStyle = 'transparent';
  ctx.fillRect(0, y, scene.width, theme.row);
  ctx.fillStyle = theme.line;
  ctx.globalAlpha = 0.6;
  ctx.fillRect(0, Math.round(y + theme.row) - 1, scene.width, 1);
  ctx.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {number} time */
function gridLine(ctx, scene, time) {
  ctx.fillStyle = scene.theme.line;
  ctx.fillRect(Math.round(x(scene, time)), scene.theme.ruler, 1, scene.height);
}

/** @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {import('./state.js').Loss} loss */
function lossBand(ctx, scene, loss) {
  const left = Math.max(0, x(scene, loss.from));
  const right = Math.min(scene.width, Math.max(x(scene, loss.to), x(scene, loss.from) + 3));
  if (right <= 0 || left >= scene.width) return;
  hatch(ctx, left, right, scene.theme.ruler, scene.height, scene.theme.loss);
}

/**
 * @param {CanvasRenderingContext2D} ctx @param {number} left @param {number} right @param {number} top
 * @param {number} bottom @param {string} colour
 */
export function hatch(ctx, left, right, top, bottom, colour) {
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, top, right - left, bottom - top);
  ctx.clip();
  ctx.strokeStyle = colour;
  ctx.globalAlpha = 0.45;
  ctx.lineWidth = 1;
  ctx.beginPath();
  // Phased by the page rather than by the band, so that neighbouring bands look like one.
  for (let start = Math.floor((left - bottom) / HATCH) * HATCH; start < right; start += HATCH) {
    ctx.moveTo(start, bottom);
    ctx.lineTo(start + bottom - top, top);
  }
  ctx.stroke();
  ctx.restore();
}

/**
 * How many attempts of a group or a storm began when.
 * @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {import('./head.js').Head} head @param {number} y
 */
function density(ctx, scene, head, y) {
  const { theme, width } = scene;
  const columns = countColumns(head.starts, scene.domain, width / COLUMN);
  const most = columns.reduce((high, number) => Math.max(high, number), 0);
  const bottom = Math.round(y + theme.barTop + theme.bar) + 2;
  ctx.fillStyle = head.kind === 'storm' ? theme.outcomes[outcomeKey(head.attempts[0])] : theme.faint;
  columns.forEach((number, column) => {
    const tall = (theme.bar + 4) * Math.sqrt(number / most);
    if (number > 0) ctx.fillRect(column * COLUMN, bottom - tall, COLUMN - 1, tall);
  });
}

/** @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {import('./scale.js').Domain} band */
function bandOver(ctx, scene, band) {
  const left = x(scene, band.from);
  const wide = x(scene, band.to) - left;
  ctx.fillStyle = scene.theme.accent;
  ctx.globalAlpha = 0.14;
  ctx.fillRect(left, 0, wide, scene.height);
  ctx.globalAlpha = 1;
  ctx.strokeStyle = scene.theme.accent;
  ctx.strokeRect(left, 0.5, wide, scene.height - 1);
  ctx.fillStyle = scene.theme.ink;
  ctx.textAlign = 'center';
  ctx.fillText(duration(span(band)), left + wide / 2, scene.theme.ruler + 12);
}

/** @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {Attempt} attempt @param {number} y */
function drawLane(ctx, scene, attempt, y) {
  const key = outcomeKey(attempt);
  const colour = scene.theme.outcomes[key];
  const middle = Math.round(y + scene.theme.barTop + scene.theme.bar / 2);
  const left = x(scene, attempt.start);
  const right = x(scene, attempt.end ?? scene.now);
  if (left > scene.width) return elsewhere(ctx, scene.width - 9, middle, 1, colour);
  // The glyph stands right of the end, and may be in sight when the bar is not.
  if (right < -GLYPH - 6) return elsewhere(ctx, 9, middle, -1, colour);
  bar(ctx, scene, attempt, { left, right, middle, colour });
  drawTicks(ctx, scene, attempt, middle, colour);
  drawMarks(ctx, scene, attempt, middle);
  if (attempt.state !== 'pending') drawGlyph(ctx, key, right + 5, middle - GLYPH / 2, colour);
  return undefined;
}

/**
 * @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {Attempt} attempt
 * @param {{ left: number, right: number, middle: number, colour: string }} place
 */
function bar(ctx, scene, attempt, { left, right, middle, colour }) {
  const { bar: height } = scene.theme;
  const from = Math.max(-4, left);
  const to = Math.max(from + 1.5, Math.min(scene.width + 4, right));
  const top = middle - height / 2;
  ctx.fillStyle = colour;
  ctx.globalAlpha = attempt.uncertain ? 0.12 : 0.24;
  ctx.fillRect(from, top, to - from, height);
  ctx.globalAlpha = 1;
  // A line through the middle keeps a faint bar readable on every background.
  ctx.fillRect(from, middle - 0.5, to - from, 1);
  if (attempt.end !== null && right >= 0) ctx.fillRect(right - 1.5, top, 2, height);
  if (left >= -4) {
    ctx.beginPath();
    ctx.arc(left, middle, height / 2 - 1, 0, Math.PI * 2);
    ctx.fill();
  }
  if (attempt.state === 'pending' && !attempt.uncertain && scene.live) {
    ctx.beginPath();
    ctx.arc(to, middle, 3, 0, Math.PI * 2);
    ctx.fill();
  }
}

/**
 * A tick for each SYN sent again; the interval is written where it fits.
 * @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {Attempt} attempt
 * @param {number} middle @param {string} colour
 */
function drawTicks(ctx, scene, attempt, middle, colour) {
  const half = scene.theme.bar / 2 + 2;
  let previous = attempt.start;
  let drawn = -Infinity;
  ctx.textAlign = 'center';
  ctx.textBaseline = 'middle';
  for (const time of attempt.retransmits) {
    const at = x(scene, time);
    const before = x(scene, previous);
    if (at > -4 && at < scene.width + 4 && at - drawn >= 1) {
      ctx.fillStyle = colour;
      ctx.fillRect(Math.round(at) - 1, middle - half, 2, half * 2);
      drawn = at;
    }
    if (at - before > INTERVAL_ROOM && at > 0 && before < scene.width) {
      interval(ctx, scene, (before + at) / 2, middle, duration(time - previous));
    }
    previous = time;
  }
}

/**
 * Challenge ACKs as diamonds, packets dropped here as triangles: hollow, so that ticks under them stay seen.
 * @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {Attempt} attempt @param {number} middle
 */
function drawMarks(ctx, scene, attempt, middle) {
  for (const mark of attempt.marks) {
    const points = SHAPES.get(mark.event);
    const at = x(scene, mark.time);
    if (!points || at < -8 || at > scene.width + 8) continue;
    ctx.beginPath();
    for (const [dx, dy] of points) ctx.lineTo(at + dx, middle + dy);
    ctx.closePath();
    ctx.fillStyle = scene.theme.surface;
    ctx.fill();
    ctx.strokeStyle = scene.theme.loss;
    ctx.lineWidth = 1.5;
    ctx.stroke();
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {number} at @param {number} middle @param {string} text */
function interval(ctx, scene, at, middle, text) {
  const width = ctx.measureText(text).width + 6;
  ctx.fillStyle = scene.theme.surface;
  ctx.fillRect(at - width / 2, middle - 6, width, 12);
  ctx.fillStyle = scene.theme.ink;
  ctx.fillText(text, at, middle + 0.5);
}

/** @param {CanvasRenderingContext2D} ctx @param {string} key @param {number} left @param {number} top @param {string} colour */
function drawGlyph(ctx, key, left, top, colour) {
  let path = GLYPHS.get(key);
  if (!path) {
    path = new Path2D(outcomeOf(key).glyph);
    GLYPHS.set(key, path);
  }
  ctx.save();
  ctx.translate(left, top);
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1.8;
  ctx.lineCap = 'round';
  ctx.lineJoin = 'round';
  ctx.stroke(path);
  ctx.restore();
}

/**
 * A chevron at the edge: this attempt is in another stretch of time.
 * @param {CanvasRenderingContext2D} ctx @param {number} at @param {number} middle
 * @param {number} side -1 for earlier, 1 for later @param {string} colour
 */
function elsewhere(ctx, at, middle, side, colour) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1.5;
  ctx.globalAlpha = 0.7;
  ctx.beginPath();
  ctx.moveTo(at - side * 2, middle - 4);
  ctx.lineTo(at + side * 2, middle);
  ctx.lineTo(at - side * 2, middle + 4);
  ctx.stroke();
  ctx.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} ctx @param {Scene} scene @param {{ step: number, times: number[] }} grid */
function ruler(ctx, scene, grid) {
  const { theme, width } = scene;
  ctx.fillStyle = theme.surface;
  ctx.fillRect(0, 0, width, theme.ruler);
  ctx.fillStyle = theme.line;
  ctx.fillRect(0, theme.ruler - 1, width, 1);
  for (const time of grid.times) ctx.fillRect(Math.round(x(scene, time)), theme.ruler - 7, 1, 7);
  timeLabels(ctx, { ...scene, grid, middle: theme.ruler / 2 });
}

/**
 * The times of a grid, each right of its line, where there is room.
 * @param {CanvasRenderingContext2D} ctx
 * @param {{ theme: import('./theme.js').Theme, domain: import('./scale.js').Domain, width: number, grid: { step: number, times: number[] }, middle: number }} axis
 */
export function timeLabels(ctx, { theme, domain, width, grid, middle }) {
  ctx.font = theme.font;
  ctx.fillStyle = theme.faint;
  ctx.textAlign = 'left';
  ctx.textBaseline = 'middle';
  const digits = span(domain) > 2 * 86_400_000 ? 0 : tickDigits(grid.step);
  for (const time of grid.times) {
    const at = Math.round(toPixel(domain, width, time)) + 4;
    const label = clock(time, digits);
    if (at + ctx.measureText(label).width <= width) ctx.fillText(label, at, middle);
  }
}

/** @param {CanvasRenderingContext2D} ctx @param {Scene} scene */
function nowLine(ctx, scene) {
  const at = Math.round(x(scene, scene.now));
  if (at < 0 || at > scene.width) return;
  ctx.fillStyle = scene.theme.accent;
  ctx.fillRect(at, scene.theme.ruler - 7, 1, scene.height);
}
