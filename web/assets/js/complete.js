// What could be typed next into a filter. Pure.

/**
 * @typedef {import('../../types/wire').FilterField} Field
 * @typedef {{ text: string, meaning: string }} Option `text` replaces the word that is being typed
 * @typedef {{ from: number, to: number, naming: boolean, options: Option[] }} Suggestion `naming`: what is typed may become a field's name
 */

const MOST = 8;
const WORD = /^([-!]?)(\w*)(!=|!~|>=|<=|=|~|>|<)?(.*)$/;

/**
 * @param {string} text @param {number} caret @param {readonly Field[]} fields
 * @param {(field: Field) => readonly string[]} seen values of a field that attempts here have, most frequent first
 * @returns {Suggestion}
 */
export function suggest(text, caret, fields, seen) {
  const before = text.slice(0, caret);
  const from = before.search(/(?:[^\s"]|"[^"]*"?)*$/);
  const [, minus, name, operator, value] = /** @type {RegExpExecArray} */ (WORD.exec(before.slice(from)));
  const ends = { from, to: caret, naming: false };
  if (operator === undefined) {
    const fitting = value === '' ? fields.filter((field) => field.name.startsWith(name)) : [];
    return { ...ends, naming: name !== '' && fitting.length > 0, options: fitting.slice(0, MOST).map((field) => ({ text: `${minus}${field.name}${field.operators[0]}`, meaning: field.meaning })) };
  }
  const field = fields.find((candidate) => candidate.name === name);
  if (!field) return { ...ends, options: [] };
  const comma = value.lastIndexOf(',') + 1;
  const [listed, part] = [value.slice(0, comma), value.slice(comma).replaceAll('"', '').toLowerCase()];
  const known = field.values ?? (field.kind === 'flag' ? ['true', 'false'] : seen(field));
  const fitting = known.filter((candidate) => candidate.toLowerCase().includes(part) && candidate.toLowerCase() !== part);
  return { ...ends, options: fitting.slice(0, MOST).map((candidate) => ({ text: `${minus}${name}${operator}${listed}${candidate}`, meaning: '' })) };
}
