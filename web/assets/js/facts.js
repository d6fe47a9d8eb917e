// What is known of an attempt, in words: lists of a name and a text each. Pure; text from the kernel is made
// visible here.

import { outcomeOf } from './causes.js';
import { clock, count, dateTime, duration, endpoint, millis, plural, processName, visible } from './format.js';

/**
 * @typedef {import('./attempts.js').Attempt} Attempt
 * @typedef {[name: string, text: string | undefined, attempt?: number]} Fact `attempt` is one to go to
 */

const EVENT_NAMES = new Map([
  ['connect.start', 'start'],
  ['connect.retransmit', 'SYN retransmit'],
  ['connect.challenge', 'challenge ACK'],
  ['connect.established', 'connected'],
  ['connect.failed', 'the end'],
  ['accept.retransmit', 'SYN-ACK retransmit'],
  ['skb.drop', 'packet dropped'],
]);

/** Why a socket is taken for the other end. */
const EVIDENCE = new Map([
  ['same_tuple', 'same addresses and ports'],
  ['translated', 'found through connection tracking'],
  ['same_source', 'same source address and port'],
]);

/** @param {string | undefined} text */
function shown(text) {
  return text === undefined ? undefined : visible(text);
}

/** @param {number | undefined} number */
function number(number) {
  return number ? count(number) : undefined;
}

/** @param {string} event */
export function eventName(event) {
  return EVENT_NAMES.get(event) ?? visible(event);
}

/**
 * The server's sentence, and what only this page knows: that time passes, and that events are missing.
 * @param {Attempt} attempt @param {number} now
 */
export function story(attempt, now) {
  const { diagnosis } = attempt.around;
  const waiting = `${processName(attempt.process)} has been waiting for ${endpoint(attempt.network.peer)} for ${duration(now - attempt.start)}.`;
  const doubt = attempt.uncertain ? ' Events were lost since; it may have ended.' : '';
  const told = diagnosis ? visible(diagnosis.summary) : attempt.state === 'pending' ? waiting : `${outcomeOf(attempt.cause ?? attempt.state).label}.`;
  return { summary: told + doubt, next: shown(diagnosis?.next) ?? '' };
}

/** @param {Attempt} attempt @returns {Fact[]} */
export function connection({ network, connect, error, start }) {
  const unbound = network.local?.port === 0 ? ' (port not chosen yet)' : '';
  return [
    ['Peer', endpoint(network.peer)],
    ['Local', endpoint(network.local) + unbound],
    ['Protocol', network.type ? `TCP over ${network.type === 'ipv6' ? 'IPv6' : 'IPv4'}` : 'TCP'],
    ['Began', dateTime(start)],
    ['Error', error && visible(error) + (connect.errno ? ` (${connect.errno})` : '')],
    ['Soft error', connect.soft_error && `ICMP said ${visible(connect.soft_error)}`],
    ['ICMP', connect.icmp && icmp(connect.icmp)],
    ['Challenge ACKs', number(connect.challenges)],
    ['SYNs not sent', connect.syn_unsent ? `${count(connect.syn_unsent)} never left this host` : undefined],
  ];
}

/** @param {NonNullable<import('../../types/wire').Connect['icmp']>} icmp */
const icmp = ({ type, code, name, sender }) => `${name ? `${visible(name)}, ` : ''}type ${type} code ${code}, from ${visible(sender)}`;

/** What is around the connection on this host. @param {Attempt} attempt @returns {Fact[]} */
export function surroundings({ around }) {
  const { nat, twin, listener, port_history: last, other_end: other, local_drops: drops = [] } = around;
  const owner = twin?.pid === undefined ? 'a socket of no process' : `${visible(twin.comm ?? '')} (${twin.pid})`;
  return [
    ['Translated', nat && `${endpoint(nat.local)} → ${endpoint(nat.peer)}`],
    ['Conntrack', nat && [nat.state, ...nat.status].map(visible).join(', ')],
    ['Held by', twin && `the other end is held by ${owner}, ${visible(twin.state)}: ${endpoint(twin.local)} → ${endpoint(twin.peer)}; ${EVIDENCE.get(twin.evidence) ?? visible(twin.evidence)}`],
    ['Listener', listener && `${endpoint(listener.local)}, ${count(listener.queued)} of ${count(listener.backlog)} queued${listener.full ? ': full' : ''}`],
    ['Other end', other && otherEnd(other), other?.attempt],
    ['Port before', last && `${visible(last.comm)} (${last.pid}) → ${endpoint(last.peer)}, ${outcomeOf(last.outcome).label} at ${clock(millis(last.ended_unix_nano))}`, last?.attempt],
    ...drops.map((drop, index) => /** @type {Fact} */ ([
      index === 0 ? 'Dropped here' : '', `${shown(drop.reason) ?? 'no reason given'} at ${clock(millis(drop.time_unix_nano))}`,
    ])),
  ];
}

/** @param {NonNullable<import('../../types/wire').Around['other_end']>} other */
function otherEnd({ attempt, synack_retransmits: again, netns }) {
  const who = attempt === undefined ? `its listener sent ${plural(again ?? 0, 'SYN-ACK')} again` : 'another attempt';
  return `on this host, in net namespace ${netns}: ${who}`;
}

/** @param {Attempt} attempt @returns {Fact[]} */
export function owner({ process, around }) {
  if (!process) return [];
  const name = process.netns_name === undefined ? '' : `${visible(process.netns_name)} `;
  const { container, k8s, systemd } = around;
  return [
    ['Thread name', shown(process.comm)],
    ['Process', String(process.pid)],
    ['Thread', process.tid === process.pid ? undefined : process.tid?.toString()],
    ['Executable', shown(process.executable?.path)],
    ['Started by', process.ancestry?.map(({ pid, comm }) => `${visible(comm)} (${pid})`).join(' ← ')],
    ['User', process.user?.id.toString()],
    ['Container', container && visible(container.id) + (container.runtime ? ` (${visible(container.runtime)})` : '')],
    ['Pod', shown(k8s?.pod.uid)],
    ['Unit', shown(systemd?.unit)],
    ['Cgroup', shown(process.cgroup)],
    ['Net namespace', process.netns === undefined ? undefined : `${name}${process.netns}`],
  ];
}

/** An event that belongs to no attempt, in a line. @param {import('../../types/wire').TraceEvent} event */
export function strayLine(event) {
  const { network, tcp, diagnosis } = event;
  const reason = tcp?.connect?.drop_reason;
  return {
    time: clock(millis(event.time_unix_nano)),
    what: eventName(event.event) + (reason ? `: ${visible(reason)}` : ''),
    where: `${endpoint(network?.local)} → ${endpoint(network?.peer)}`,
    why: shown(diagnosis?.summary) ?? '',
    attempt: event.other_end?.attempt,
  };
}
