// A stack, innermost frame first.

import { el } from './dom.js';
import { visible } from './format.js';

/** @typedef {import('../../types/wire').Frame} Frame */

/** @param {readonly Frame[]} frames */
export function stack(frames) {
  return el('ol', { class: 'stack' }, ...frames.map(line));
}

/** @param {Frame} frame */
function line(frame) {
  const item = el('li', { title: visible(frame.address) });
  if (frame.function) {
    item.append(el('code', { class: 'function' }, visible(frame.function)));
    if (frame.offset !== undefined) item.append(el('code', { class: 'offset' }, `+0x${frame.offset.toString(16)}`));
  } else {
    item.append(el('code', { class: 'address' }, visible(frame.address)));
  }
  const where = whereOf(frame);
  if (where) item.append(el('span', { class: 'where', title: visible(where) }, visible(shorten(where))));
  return item;
}

/** Source line, file, or build. @param {Frame} frame */
export function whereOf(frame) {
  if (frame.file) return frame.file + (frame.line === undefined ? '' : `:${frame.line}`);
  if (frame.module || !frame.build_id) return frame.module;
  return `build id ${frame.build_id}+0x${(frame.module_offset ?? 0).toString(16)}`;
}

/** The end of a path says most. @param {string} path */
function shorten(path) {
  const parts = path.split('/');
  return parts.length > 3 ? `…/${parts.slice(-2).join('/')}` : path;
}
