import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

/** @typedef {[red: number, green: number, blue: number]} Linear light, from 0 to 1 */

const TOKENS = readFileSync(new URL('../../assets/css/1-tokens.css', import.meta.url), 'utf8');
const LOOKS = /** @type {const} */ (['light', 'dark']);
const BACKGROUNDS = ['--page', '--surface', '--hover', '--selected'];

/** How colours are seen, as matrices on linear RGB: Machado, Oliveira, Fernandes 2009, severity 1. With the least distance wanted. */
const VISIONS = Object.entries({
  usual: { seen: [1, 0, 0, 0, 1, 0, 0, 0, 1], apart: 0.08 },
  protanopia: { seen: [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998], apart: 0.08 },
  deuteranopia: { seen: [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881], apart: 0.08 },
  tritanopia: { seen: [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.3039], apart: 0.055 },
});

/** @param {'light' | 'dark'} look @returns {Map<string, Linear>} */
function colours(look) {
  const found = [...TOKENS.matchAll(/(--[\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)/g)];
  return new Map(found.map(([, name, light, dark]) => [name, linear(look === 'light' ? light : dark)]));
}

/** @param {string} hex @returns {Linear} */
function linear(hex) {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const value = parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return [red, green, blue];
}

/** @param {readonly number[]} matrix @param {Linear} colour @returns {Linear} */
function seen(matrix, colour) {
  const [red, green, blue] = [0, 3, 6].map((row) => {
    const value = colour.reduce((sum, part, column) => sum + part * matrix[row + column], 0);
    return Math.max(0, Math.min(1, value));
  });
  return [red, green, blue];
}

/** Oklab, where distances are what eyes take them for. @param {Linear} colour */
function oklab([red, green, blue]) {
  const l = Math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue);
  const m = Math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue);
  const s = Math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

/** WCAG 2.2's. @param {Linear} one @param {Linear} other */
function contrast(one, other) {
  const luminance = (/** @type {Linear} */ [red, green, blue]) => 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}

for (const look of LOOKS) {
  const all = colours(look);
  const outcomes = [...all].filter(([name]) => name.startsWith('--c-'));

  test(`outcomes are told apart by any eyes, ${look}`, () => {
    assert.equal(outcomes.length, 8);
    for (const [vision, { seen: matrix, apart }] of VISIONS) {
      const places = outcomes.map(([name, colour]) => /** @type {const} */ ([name, oklab(seen(matrix, colour))]));
      for (const [index, [name, place]] of places.entries()) {
        for (const [other, there] of places.slice(index + 1)) {
          const distance = Math.hypot(...place.map((value, axis) => value - there[axis]));
          assert.ok(distance >= apart, `${name} and ${other} with ${vision}: ${distance.toFixed(3)}`);
        }
      }
    }
  });

  test(`outcomes can be read on whatever is behind them, ${look}`, () => {
    for (const [name, colour] of outcomes) {
      for (const background of BACKGROUNDS) {
        const ratio = contrast(colour, /** @type {Linear} */ (all.get(background)));
        assert.ok(ratio >= 4.5, `${name} on ${background}: ${ratio.toFixed(2)}`);
      }
    }
  });
}
