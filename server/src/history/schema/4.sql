-- Runs of events in the place of single ones. `id` is the row number of the first, and the others up to `last_seq` follow
-- it without a hole; `newest_ns` is the latest of their times. `lines` is what readers get: JSON, a line an event, in
-- LZ4's block format, behind its size in four bytes, the lowest first. It comes last: what is wanted without it is read
-- without it.
CREATE TABLE blocks (
  id INTEGER PRIMARY KEY,
  last_seq INTEGER NOT NULL,
  newest_ns INTEGER NOT NULL,
  lines BLOB NOT NULL
) STRICT;
