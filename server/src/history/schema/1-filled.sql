-- A file as version 1 left it, as SQL: the tables of 1.sql, one trace, one attempt of two events.
PRAGMA application_id = 0x53796e73;
PRAGMA user_version = 1;
CREATE TABLE traces (
  key INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  state TEXT NOT NULL,
  created_ns INTEGER NOT NULL,
  touched_ns INTEGER NOT NULL,
  ended_ns INTEGER,
  end_reason TEXT,
  request TEXT NOT NULL,
  counters TEXT NOT NULL
) STRICT;
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  time_ns INTEGER NOT NULL,
  json TEXT NOT NULL
) STRICT;
CREATE TABLE attempts (
  id INTEGER PRIMARY KEY,
  last_seq INTEGER NOT NULL,
  state TEXT NOT NULL,
  cause TEXT,
  peer BLOB NOT NULL,
  peer_port INTEGER NOT NULL,
  local_port INTEGER NOT NULL,
  pid INTEGER,
  comm TEXT NOT NULL,
  start_ns INTEGER NOT NULL,
  retransmit_ns TEXT NOT NULL
) STRICT;
INSERT INTO traces VALUES (1, '0123456789ab', 'ended', 1790000000000000000, 1790000009000000000, 1790000009000000000,
  'requested', '{"name":"nightly","filter":{},"slow_ms":1000,"starts":false,"stacks":true,"drops":false,"ttl_s":null,"max_events":null}',
  '{"produced":2,"delivered":2,"lost":{"ringbuf":0,"queue":0}}');
INSERT INTO events VALUES ((1 << 40) | 1, 1790000001000000000,
  '{"seq":1,"time_unix_nano":"1790000001000000000","event":"connect.retransmit","attempt":5,"network":{"transport":"tcp","type":"ipv4","local":{"address":"10.0.0.5","port":43210},"peer":{"address":"203.0.113.7","port":22}},"process":{"netns":4026531840,"pid":42,"tid":42,"comm":"nc","user":{"id":0},"cgroup":"/"},"tcp":{"connect":{"start_unix_nano":"1790000000000000000","duration_ms":1000.0,"syn_retransmits":1,"stale_peer":false,"challenges":0}}}');
INSERT INTO events VALUES ((1 << 40) | 2, 1790000007000000000,
  '{"seq":2,"time_unix_nano":"1790000007000000000","event":"connect.failed","attempt":5,"network":{"transport":"tcp","type":"ipv4","local":{"address":"10.0.0.5","port":43210},"peer":{"address":"203.0.113.7","port":22}},"process":{"netns":4026531840,"pid":42,"tid":42,"comm":"nc","user":{"id":0},"cgroup":"/"},"error":{"type":"ETIMEDOUT"},"tcp":{"connect":{"start_unix_nano":"1790000000000000000","duration_ms":7000.0,"syn_retransmits":1,"stale_peer":false,"challenges":0,"cause":"timeout","errno":110}}}');
INSERT INTO attempts VALUES ((1 << 40) | 1, 2, 'failed', 'timeout', x'00000000000000000000ffffcb007107', 22, 43210, 42,
  'nc', 1790000000000000000, '["1790000001000000000"]');
