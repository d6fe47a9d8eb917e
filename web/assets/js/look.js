// Dark or light: as the system has it, unless somebody chose.

import { byId, setText } from './dom.js';

const KEY = 'synscope.look';
const LOOKS = ['', 'light', 'dark'];

/** @param {string} look */
function apply(look) {
  document.documentElement.style.colorScheme = look;
  setText(byId('look'), { light: '☀', dark: '☾' }[look] ?? '◐');
  byId('look').title = `Colours: ${look || 'as the system has them'}`;
}

/** @param {() => void} changed */
export function offerLooks(changed) {
  let look = localStorage.getItem(KEY) ?? '';
  apply(look);
  byId('look').addEventListener('click', () => {
    look = LOOKS[(LOOKS.indexOf(look) + 1) % LOOKS.length];
    if (look) localStorage.setItem(KEY, look);
    else localStorage.removeItem(KEY);
    apply(look);
    changed();
  });
}
