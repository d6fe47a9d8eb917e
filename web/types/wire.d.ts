// What the server sends, as docs/reference.md describes it. Members that may be unknown are optional.

export interface Endpoint { address: string; port: number }

export interface Network {
  transport?: string;
  type?: string;
  local?: Endpoint;
  peer?: Endpoint;
}

export interface Process {
  pid: number;
  tid?: number;
  comm?: string;
  user?: { id: number };
  cgroup?: string;
  netns?: number;
  netns_name?: string;
  executable?: { path: string };
  /** Parent first. */
  ancestry?: { pid: number; comm: string }[];
}

export interface Frame {
  address: string;
  function?: string;
  offset?: number;
  module?: string;
  module_offset?: number;
  build_id?: string;
  file?: string;
  line?: number;
}

export interface Connect {
  start_unix_nano?: string;
  duration_ms?: number;
  syn_retransmits?: number;
  cause?: string;
  stale_peer?: boolean;
  challenges?: number;
  soft_error?: string;
  icmp?: { type: number; code: number; name?: string; sender: string };
  errno?: number;
  syn_unsent?: number;
  drop_reason?: string;
}

/** What the server found out about an attempt besides the attempt itself; the newest answer counts. */
export interface Around {
  diagnosis?: { summary: string; next: string };
  nat?: { local: Endpoint; peer: Endpoint; state: string; status: string[] };
  twin?: { local: Endpoint; peer: Endpoint; state: string; evidence: string; pid?: number; comm?: string };
  listener?: { local: Endpoint; queued: number; backlog: number; full: boolean };
  port_history?: { attempt: number; pid: number; comm: string; peer: Endpoint; ended_unix_nano: string; outcome: string };
  other_end?: { attempt?: number; synack_retransmits?: number; netns: number };
  local_drops?: { time_unix_nano: string; reason?: string }[];
  container?: { id: string; runtime?: string };
  k8s?: { pod: { uid: string } };
  systemd?: { unit: string };
}

export interface TraceEvent extends Around {
  seq: number;
  time_unix_nano: string;
  event: string;
  attempt?: number;
  network?: Network;
  /** Without `pid` where there is no caller: on the passive side. */
  process?: Process | { netns?: number; netns_name?: string; pid?: undefined };
  error?: { type: string };
  tcp?: { connect?: Connect };
  stack?: { user?: Frame[]; kernel?: Frame[] };
}

export interface Counters {
  produced: number;
  delivered: number;
  lost: { ringbuf: number; queue: number; history?: number };
  unasked?: number;
  attempts: {
    started: number;
    established: number;
    failed: number;
    untracked: number;
    quiet: number;
    replaced?: number;
    evicted?: number;
    missed?: number;
    faults?: number;
    code_unsent?: number;
  };
}

export interface Trace {
  id: string;
  name?: string | null;
  state: 'armed' | 'running' | 'stopped' | 'failed' | 'interrupted';
  end_reason: string | null;
  created_unix_nano: string;
  ended_unix_nano: string | null;
  filter?: Record<string, unknown>;
  slow_ms?: number;
  recorder?: { before_s: number; after_s: number; filter: string };
  matched_unix_nano?: string;
  recorded_from_unix_nano?: string;
  events: { first_seq: number; next_seq: number };
  counters: Counters;
}

export interface Hello { type: 'hello'; epoch: string | number; trace: string; first_seq: number; next_seq: number }
export interface Events { type: 'events'; events: TraceEvent[] }
export interface Gap { type: 'gap'; from: number; to: number; count: number; stage: string }
export interface Heartbeat { type: 'heartbeat'; time_unix_nano: string; counters: Counters }
export interface End { type: 'end'; reason: string }
export type Message = Hello | Events | Gap | Heartbeat | End;

export interface Problem {
  type?: string;
  title?: string;
  status: number;
  detail?: string;
  remedy?: string;
  field?: string;
  /** Where in a filter's text, in bytes. */
  position?: { start: number; end: number };
}

/** Whether traces are kept. */
export interface History {
  state: 'recording' | 'paused' | 'stalled' | 'memory' | 'off';
  directory?: string | null;
  detail?: string | null;
  remedy?: string | null;
}

export interface Capabilities {
  kernel: string;
  works: boolean;
  checks: { name: string; status: string; found: string; costs?: string; remedy?: string }[];
  history?: History;
}

/** How the server reads a filter. */
export type FilterValue = string | number | boolean | { from: number; to: number } | { ago_ms: number } | { unix_nano: string };
export interface FilterTerm { field: string; op: string; not: boolean; values: FilterValue[]; start: number; end: number; kernel?: boolean }
export interface FilterAnswer { filter: string; terms: FilterTerm[] }

/** What can be typed into a filter. */
export interface FilterField {
  name: string;
  kind: string;
  operators: string[];
  meaning: string;
  path?: string;
  values?: string[];
  searches?: string[];
}
