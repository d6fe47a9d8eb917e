import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AttemptStore } from '../../assets/js/attempts.js';
import { connection, owner, story, strayLine, surroundings } from '../../assets/js/facts.js';
import { TraceState } from '../../assets/js/state.js';
import { unusual } from '../../assets/js/status.js';
import { strayWords } from '../../assets/js/strays.js';
import { BEGIN, counters, event, hello } from './events.js';

/** @typedef {import('../../types/wire').TraceEvent} TraceEvent */

/** @param {...TraceEvent} events */
function attemptOf(...events) {
  const store = new AttemptStore();
  for (const told of events) store.take(told);
  return /** @type {import('../../assets/js/attempts.js').Attempt} */ (store.at(0));
}

/** @param {Partial<TraceEvent>} rest @param {Partial<import('../../types/wire').Connect>} [connect] */
function failed(rest, connect = {}) {
  return attemptOf(event(1, 1, 'connect.failed', 4010, { cause: 'timeout', ...connect }, rest));
}

/** @param {readonly import('../../assets/js/facts.js').Fact[]} facts */
function texts(facts) {
  return Object.fromEntries(facts.filter(([, text]) => text).map(([name, text]) => [name, text]));
}

const local = { address: '10.0.0.5', port: 43210 };
const peer = { address: '127.0.0.1', port: 15001 };

test('the server\'s diagnosis is what is said, with hostile text made visible', () => {
  const told = failed({ diagnosis: { summary: 'nc\u202e gave up.', next: 'Look\u001b there.' } });
  assert.deepEqual(story(told, BEGIN), { summary: 'nc‹U+202E› gave up.', next: 'Look‹U+001B› there.' });
});

test('a newer diagnosis replaces an older one; a dropped packet\'s does not', () => {
  const say = (/** @type {string} */ summary) => ({ diagnosis: { summary, next: '' } });
  const attempt = attemptOf(
    event(1, 1, 'connect.retransmit', 1000, {}, say('one')),
    event(2, 1, 'connect.retransmit', 3000, {}, say('two')),
    event(3, 1, 'skb.drop', 3100, { drop_reason: 'NETFILTER_DROP' }, say('a packet')),
  );
  assert.equal(story(attempt, BEGIN).summary, 'two');
});

test('without a diagnosis an attempt is described as far as the page knows', () => {
  const pending = attemptOf(event(1, 1, 'connect.start', 0));
  assert.equal(story(pending, BEGIN + 9000).summary, 'nc has been waiting for 203.0.113.7:22 for 9.00 s.');
  pending.uncertain = true;
  assert.match(story(pending, BEGIN + 9000).summary, /it may have ended\.$/);
  assert.equal(story(failed({}), BEGIN).summary, 'timed out.');
});

test('translation, twin and listener are told', () => {
  const told = texts(surroundings(failed({
    nat: { local, peer, state: 'SYN_SENT', status: ['DNAT', 'un\u001breplied'] },
    twin: { local: peer, peer: local, state: 'FIN-WAIT-2', evidence: 'translated', pid: 77, comm: 'en\u202evoy' },
    listener: { local: peer, queued: 129, backlog: 128, full: true },
  })));
  assert.deepEqual(told, {
    Translated: '10.0.0.5:43210 → 127.0.0.1:15001',
    Conntrack: 'SYN_SENT, DNAT, un‹U+001B›replied',
    'Held by': 'the other end is held by en‹U+202E›voy (77), FIN-WAIT-2: 127.0.0.1:15001 → 10.0.0.5:43210; found through connection tracking',
    Listener: '127.0.0.1:15001, 129 of 128 queued: full',
  });
  const orphan = texts(surroundings(failed({ twin: { local, peer, state: 'FIN-WAIT-2', evidence: 'brand_new' } })));
  assert.match(orphan['Held by'] ?? '', /a socket of no process, FIN-WAIT-2: .*brand_new$/);
});

test('port history and the other end lead to their attempts', () => {
  const facts = surroundings(failed({
    port_history: { attempt: 5, pid: 9, comm: 'cu\u0007rl', peer, ended_unix_nano: '1790000000000000000', outcome: 'refused' },
    other_end: { attempt: 6, netns: 4026531840 },
  }));
  assert.match(texts(facts)['Port before'] ?? '', /^cu‹U\+0007›rl \(9\) → 127\.0\.0\.1:15001, refused at \d/);
  assert.deepEqual(facts.map(([, , attempt]) => attempt).filter(Boolean), [6, 5]);
  const passive = texts(surroundings(failed({ other_end: { synack_retransmits: 3, netns: 1 } })));
  assert.equal(passive['Other end'], 'on this host, in net namespace 1: its listener sent 3 SYN-ACKs again');
});

test('local drops are told with their reasons, one a line', () => {
  const drops = [{ time_unix_nano: '1790000000000000000', reason: 'NETFILTER_DROP' }, { time_unix_nano: '1790000001000000000' }];
  const facts = surroundings(failed({ local_drops: drops })).filter(([, text]) => text);
  assert.deepEqual(facts.map(([name, text]) => [name, text?.replace(/ at .*/, '')]), [['Dropped here', 'NETFILTER_DROP'], ['', 'no reason given']]);
});

test('nothing around an attempt is no fact', () => {
  assert.deepEqual(texts(surroundings(failed({}))), {});
});

test('the owner has a program, parents, a container, a pod, a unit and a named namespace', () => {
  const told = texts(owner(failed({
    process: {
      pid: 42, tid: 43, comm: 'nc', netns: 4026532000, netns_name: 'blue\n', executable: { path: '/usr/bin/nc\u001b' },
      ancestry: [{ pid: 41, comm: 'ba\u202esh' }, { pid: 1, comm: 'systemd' }],
    },
    container: { id: 'abc', runtime: 'cri-o' }, k8s: { pod: { uid: '1a2b' } }, systemd: { unit: 'ssh.service' },
  })));
  assert.deepEqual(told, {
    'Thread name': 'nc', Process: '42', Thread: '43', Executable: '/usr/bin/nc‹U+001B›', 'Started by': 'ba‹U+202E›sh (41) ← systemd (1)',
    Container: 'abc (cri-o)', Pod: '1a2b', Unit: 'ssh.service', 'Net namespace': 'blue‹U+000A› 4026532000',
  });
});

test('soft errors, challenges and SYNs that stayed here are told', () => {
  const told = texts(connection(failed({ error: { type: 'ETIMEDOUT' } }, { errno: 110, soft_error: 'EHOSTUNREACH', challenges: 4, syn_unsent: 2 })));
  assert.equal(told.Error, 'ETIMEDOUT (110)');
  assert.equal(told['Soft error'], 'ICMP said EHOSTUNREACH');
  assert.equal(told['Challenge ACKs'], '4');
  assert.equal(told['SYNs not sent'], '2 never left this host');
  assert.equal(texts(connection(failed({})))['SYNs not sent'], undefined);
});

test('a dropped packet marks its attempt and leaves its owner and counts alone', () => {
  const attempt = attemptOf(
    event(1, 1, 'connect.retransmit', 1000, { syn_retransmits: 1, challenges: 2 }),
    event(2, 1, 'skb.drop', 1001, { drop_reason: 'NETFILTER_DROP', syn_retransmits: 0, challenges: 0 }, { process: { netns: 7 } }),
  );
  assert.deepEqual(attempt.marks.map(({ event: name, reason }) => [name, reason]), [['connect.retransmit', undefined], ['skb.drop', 'NETFILTER_DROP']]);
  assert.equal(attempt.process?.pid, 4242);
  assert.equal(attempt.synRetransmits, 1);
  assert.equal(attempt.connect.challenges, 2);
});

test('what belongs to no attempt makes no lane, is counted, kept within bounds and told', () => {
  const state = new TraceState();
  state.apply(hello(), BEGIN);
  const passive = (/** @type {number} */ seq) => event(seq, 0, 'accept.retransmit', seq, {}, {
    attempt: undefined, process: { netns: 1 }, other_end: { attempt: 12, netns: 1 }, diagnosis: { summary: 'x\u001by', next: '' },
  });
  state.apply({ type: 'events', events: Array.from({ length: 300 }, (_, index) => passive(index + 1)) }, BEGIN);
  state.apply({ type: 'events', events: [event(301, 0, 'skb.drop', 1, { drop_reason: 'NO_\u202eSOCKET' }, { attempt: undefined })] }, BEGIN);
  assert.equal(state.attempts.size, 0);
  assert.equal(state.strays.length, 200);
  assert.equal(strayWords(state.strayed), '300 SYN-ACKs sent again by listeners here, 1 dropped packet of no known attempt');
  const [first, last] = [state.strays[0], state.strays[199]].map(strayLine);
  assert.deepEqual([first.what, first.why, first.attempt], ['SYN-ACK retransmit', 'x‹U+001B›y', 12]);
  assert.equal(last.what, 'packet dropped: NO_‹U+202E›SOCKET');
});

test('unusual counters are shown when they count something', () => {
  assert.deepEqual(unusual(counters()), []);
  const some = counters();
  some.unasked = 7;
  Object.assign(some.attempts, { untracked: 1, replaced: 2, evicted: 3, missed: 4, faults: 5 });
  assert.deepEqual(unusual(some).map(([name, value]) => [name, value]), [
    ['Untracked', 1], ['Replaced', 2], ['Evicted', 3], ['Hooks missed', 4], ['Faults', 5], ['Not looked up', 7],
  ]);
});
