-- One row a trace. `state` is running, importing, ended, or deleted while its events are still being removed.
-- Times are nanoseconds since 1970; `touched_ns` is when the row was last written.
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

-- `id` is the trace's key and the sequence number in one: key << 40 | seq. `json` is the line that readers get.
CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  time_ns INTEGER NOT NULL,
  json TEXT NOT NULL
) STRICT;

-- What queries ask for. The rest of an attempt is in the event `last_seq`. `id` is that of its first event;
-- `peer` has 16 bytes, IPv4 as ::ffff:a.b.c.d.
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
