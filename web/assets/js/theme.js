// Colours and sizes for the canvas, read from the one place that defines them: the style sheet.

import { OUTCOME_KEYS, outcomeOf } from './causes.js';

/**
 * @typedef {object} Theme
 * @property {string} ink
 * @property {string} faint
 * @property {string} line
 * @property {string} surface
 * @property {string} hover
 * @property {string} selected
 * @property {string} accent
 * @property {string} loss
 * @property {string} shade
 * @property {Record<string, string>} outcomes by the names of causes.js
 * @property {string} font
 * @property {number} row        height of a lane, equal to a row's of the table
 * @property {number} ruler      height of the time axis
 * @property {number} barTop     of the bar within its lane
 * @property {number} bar        height of the bar
 */

/** @param {HTMLElement} host whose variables count @returns {Theme} */
export function readTheme(host) {
  const probe = host.appendChild(document.createElement('span'));
  // Only a used colour is resolved; a variable's own value may be an expression.
  const colour = (/** @type {string} */ name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const pixels = (/** @type {string} */ name) => {
    probe.style.fontSize = `var(${name})`;
    return parseFloat(getComputedStyle(probe).fontSize);
  };
  const theme = {
    ink: colour('--ink-2'),
    faint: colour('--ink-3'),
    line: colour('--line'),
    surface: colour('--surface'),
    hover: colour('--hover'),
    selected: colour('--selected'),
    accent: colour('--accent'),
    loss: colour('--loss'),
    shade: colour('--shade'),
    outcomes: Object.fromEntries(OUTCOME_KEYS.map((key) => [key, colour(outcomeOf(key).colour)])),
    font: `${pixels('--text-s')}px ${getComputedStyle(host).fontFamily}`,
    row: pixels('--row'),
    ruler: pixels('--ruler'),
    barTop: pixels('--bar-top'),
    bar: pixels('--bar'),
  };
  probe.remove();
  return theme;
}
