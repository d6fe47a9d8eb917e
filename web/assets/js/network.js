// Addresses and networks, as the filter language compares them. Pure.

/** Addresses are few, attempts are many: what was read before is kept. @type {Map<string, Uint16Array | null>} */
const READ = new Map();
const LIMIT = 10_000;

/** An address as groups of 16 bits: two for IPv4, eight for IPv6. @param {string} text @returns {Uint16Array | null} */
export function addressBits(text) {
  const known = READ.get(text);
  if (known !== undefined) return known;
  if (READ.size >= LIMIT) READ.clear();
  const bits = text.includes(':') ? six(text) : four(text);
  READ.set(text, bits);
  return bits;
}

/** @param {string} text */
function four(text) {
  const bytes = text.split('.').map(Number);
  if (bytes.length !== 4 || !bytes.every((byte) => byte >= 0 && byte < 256)) return null;
  return Uint16Array.of((bytes[0] << 8) | bytes[1], (bytes[2] << 8) | bytes[3]);
}

/** @param {string} text */
function six(text) {
  // The end may be written as IPv4.
  const [, head, tail] = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text) ?? [];
  const short = tail === undefined ? text : head + [...(four(tail) ?? [])].map((group) => group.toString(16)).join(':');
  const [before, after] = short.split('::').map((part) => (part === '' ? [] : part.split(':').map((group) => parseInt(group, 16))));
  const groups = after === undefined ? before : [...before, ...new Array(Math.max(0, 8 - before.length - after.length)).fill(0), ...after];
  return groups.length === 8 && groups.every((group) => group >= 0 && group < 65_536) ? Uint16Array.from(groups) : null;
}

/** Whether an address is of this network. @param {Uint16Array} network @param {number} prefix bits @param {string} text */
export function holds(network, prefix, text) {
  const address = addressBits(text);
  if (address?.length !== network.length) return false;
  return address.every((group, index) => {
    const bits = Math.max(0, Math.min(16, prefix - index * 16));
    return (group ^ network[index]) >> (16 - bits) === 0;
  });
}
