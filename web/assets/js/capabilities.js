// What this kernel can and cannot tell, and whether traces are kept, as the server found it.

import { byId, el, setText } from './dom.js';
import { plural, visible } from './format.js';

/** @typedef {import('../../types/wire').Capabilities} Capabilities */

/** @param {Capabilities} capabilities */
export function capabilityWords({ kernel, works, checks }) {
  const lacking = checks.filter(({ status }) => status !== 'ok').length;
  if (!works) return `Traces cannot run on kernel ${visible(kernel)}`;
  return lacking === 0 ? `Kernel ${visible(kernel)} can tell everything` : `Kernel ${visible(kernel)}: ${plural(lacking, 'limit')}`;
}

/** @param {Capabilities} capabilities */
export function showCapabilities(capabilities) {
  const element = byId('capabilities');
  const checks = capabilities.checks.toSorted((a, b) => Number(a.status === 'ok') - Number(b.status === 'ok'));
  const summary = el('summary');
  setText(summary, capabilityWords(capabilities));
  element.replaceChildren(summary, el('ul', {}, ...checks.map((check) => {
    const words = [check.found, check.costs, check.remedy].filter((text) => text).map((text) => visible(/** @type {string} */ (text)));
    return el('li', { 'data-status': check.status === 'ok' ? 'ok' : 'lacking' },
      el('b', {}, visible(check.name)), ` ${visible(check.status)}: `, ...words.map((text) => el('span', {}, `${text} `)));
  })));
  if (capabilities.checks.some(({ status }) => status !== 'ok')) element.setAttribute('open', '');
}

/** The server did not say. What was known before stays. */
export function missCapabilities() {
  const [summary, ...known] = byId('capabilities').children;
  if (known.length === 0) setText(summary, 'What this kernel can tell is not known');
}

/** Whether traces are kept, each state in words of its own. @param {import('../../types/wire').History | undefined} history */
export function historyWords(history) {
  if (!history) return '';
  const { state, directory, detail, remedy } = history;
  const why = [detail, remedy].filter((text) => text).map((text) => `${visible(/** @type {string} */ (text))}.`.replace(/\.\.$/, '.')).join(' ');
  switch (state) {
    case 'recording': return `Traces are kept in ${visible(directory ?? 'the data directory')}. ${why}`.trim();
    case 'paused': return `History is paused: what is told now is shown, and is not kept. ${why}`;
    case 'stalled': return `History waits for the disk: what is told now is shown, and is kept once the disk takes it, as far as the memory for it goes. ${why}`;
    case 'memory': return `History is in memory only: traces are gone when the server ends. ${why}`;
    case 'off': return 'History is off: traces are gone when the server ends. Start it without `--history off` to keep them.';
    default: return visible(state);
  }
}
