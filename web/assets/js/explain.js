// What happened to an attempt, in a sentence, and what to look at next. Pure.

import { outcomeKey } from './causes.js';
import { duration, endpoint, plural, processName, visible } from './format.js';

/** @typedef {import('./attempts.js').Attempt} Attempt */

/**
 * @param {Attempt} attempt
 * @param {number} now
 * @returns {{ sentence: string, next: string }}
 */
export function explain(attempt, now) {
  const facts = {
    who: processName(attempt.process),
    peer: endpoint(attempt.network.peer),
    port: attempt.network.peer?.port ?? 0,
    took: duration((attempt.end ?? now) - attempt.start),
    syns: plural(attempt.synRetransmits + 1, 'SYN'),
    error: attempt.error ? visible(attempt.error) : attempt.connect.errno ? `error ${attempt.connect.errno}` : 'no error number',
  };
  const told = attempt.state === 'failed'
    ? FAILED[outcomeKey(attempt)](facts)
    : attempt.state === 'established' ? established(attempt, facts) : pending(attempt, facts);
  const extras = [stalePeer(attempt), softError(attempt)].filter((text) => text !== '');
  return { sentence: [told[0], ...extras].join(' '), next: told[1] };
}

/**
 * @typedef {object} Facts
 * @property {string} who
 * @property {string} peer
 * @property {number} port
 * @property {string} took
 * @property {string} syns
 * @property {string} error
 */

/** @type {Record<string, (facts: Facts) => [string, string]>} */
const FAILED = {
  refused: (f) => [
    `${f.peer} refused ${f.who}: it answered with a reset after ${f.took}.`,
    `The address is alive. Nothing listens on port ${f.port} there, or a firewall rejects with a reset.`,
  ],
  port_unreachable: (f) => [
    `${f.who} was turned away from ${f.peer} after ${f.took}: an ICMP "port unreachable" came back.`,
    'A firewall on the way or at the peer rejects this port; look for REJECT rules.',
  ],
  host_unreachable: (f) => [
    `${f.who} could not reach the host ${f.peer}: the network said so after ${f.took} and ${f.syns}.`,
    'Is the host up, and does it answer ARP or neighbour discovery on its network? Otherwise a router on the way sent it.',
  ],
  net_unreachable: (f) => [
    `${f.who} could not reach the network of ${f.peer}: a router said so after ${f.took}.`,
    'Look at the routes between here and there.',
  ],
  no_route: (f) => [
    `This host has no route to ${f.peer}; ${f.who} failed before any SYN was sent.`,
    'Compare with what "ip route get" says in the same network namespace.',
  ],
  timeout: (f) => [
    `Nothing answered ${f.who}: the kernel sent ${f.syns} to ${f.peer} and gave up after ${f.took}.`,
    'The peer is down, or something drops the SYNs or their answers without a word. Capture on the peer to see which.',
  ],
  closed_by_app: (f) => [
    `${f.who} gave up on ${f.peer} after ${f.took}, while ${f.syns} had gone unanswered.`,
    "The application's own deadline ended it, not the network. What kept the peer silent is the question: down, or dropped on the way.",
  ],
  killed: (f) => [
    `${f.who} was killed ${f.took} into connecting to ${f.peer}; ${f.syns} had gone unanswered.`,
    'The attempt ended with its process.',
  ],
  no_local_port: (f) => [
    `There was no free local port for ${f.who} to reach ${f.peer}.`,
    'See net.ipv4.ip_local_port_range, and how many sockets to this peer linger in TIME_WAIT.',
  ],
  denied: (f) => [
    `This host did not allow ${f.who} to connect to ${f.peer} (${f.error}).`,
    'A local firewall, a cgroup program or a security module decided so.',
  ],
  other: (f) => [
    `${f.who} failed to connect to ${f.peer} after ${f.took} (${f.error}).`,
    'The kernel stack at the end shows which path gave up.',
  ],
};

/** @param {Attempt} attempt @param {Facts} f @returns {[string, string]} */
function established(attempt, f) {
  if (attempt.synRetransmits === 0) {
    return [`${f.who} connected to ${f.peer} in ${f.took}, without a retransmit.`, ''];
  }
  const times = plural(attempt.synRetransmits, 'SYN retransmit');
  return [
    `${f.who} connected to ${f.peer}, but only after ${f.took} and ${times}.`,
    'The first SYNs or their answers were lost, or the listener had no room in its backlog.',
  ];
}

/** @param {Attempt} attempt @param {Facts} f @returns {[string, string]} */
function pending(attempt, f) {
  if (attempt.uncertain) {
    return [`${f.who} began to connect to ${f.peer}; events were lost since, so it may have ended.`, ''];
  }
  return [`${f.who} has been waiting for ${f.peer} for ${f.took}; ${f.syns} unanswered so far.`, ''];
}

/** @param {Attempt} attempt */
function stalePeer(attempt) {
  const { stale_peer: stale, challenges = 0 } = attempt.connect;
  if (!stale && challenges === 0) return '';
  return `The peer still holds an older connection on these very addresses and ports: it answered ${plural(Math.max(1, challenges), 'SYN')} with a challenge ACK.`;
}

/** @param {Attempt} attempt */
function softError(attempt) {
  const soft = attempt.connect.soft_error;
  return soft ? `On the way ICMP had said ${visible(String(soft))}.` : '';
}
