// The access token: comes in the fragment of the printed URL, then stays in this tab's session storage.

const KEY = 'synscope.token';

/**
 * The token in what someone opened or pasted: a whole URL, a fragment, or the token alone.
 * @param {string} text
 */
export function tokenIn(text) {
  const trimmed = text.trim();
  const inFragment = new URLSearchParams(trimmed.slice(trimmed.indexOf('#') + 1)).get('token');
  if (inFragment) return inFragment;
  // Only characters that a subprotocol may carry.
  return /^[A-Za-z0-9._~-]+$/.test(trimmed) ? trimmed : null;
}

/** Takes the token out of the address bar, so that it is not copied or photographed along. */
export function adoptToken() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const fresh = fragment.get('token');
  if (fresh) {
    keepToken(fresh);
    fragment.delete('token');
    const rest = fragment.toString();
    history.replaceState(null, '', location.pathname + location.search + (rest ? `#${rest}` : ''));
  }
  return sessionStorage.getItem(KEY);
}

/** @param {string} token */
export function keepToken(token) {
  sessionStorage.setItem(KEY, token);
}

export function forgetToken() {
  sessionStorage.removeItem(KEY);
}
