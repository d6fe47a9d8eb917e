// Keys that work wherever the focus is, unless something is being typed.

/** @typedef {Record<string, () => void>} Keys by `KeyboardEvent.key` */

/** @param {() => Keys | null} active the keys that count now */
export function listenKeys(active) {
  document.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const keys = active();
    const run = keys?.[event.key] ?? keys?.[event.key.toLowerCase()];
    if (!run) return;
    event.preventDefault();
    run();
  });
}

/** @param {EventTarget | null} target */
function typing(target) {
  return target instanceof HTMLElement && target.closest('input, select, textarea, dialog') !== null;
}
