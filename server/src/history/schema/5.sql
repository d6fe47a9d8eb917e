-- Where attempts of a cause, of a peer, or of both are: in this run, which is their `id` without its lowest six bits. An
-- empty `cause` stands for every cause, an empty `peer` for every peer. One row for many attempts that are alike costs
-- less than three indexes of them all.
CREATE TABLE places (
  cause TEXT NOT NULL,
  peer BLOB NOT NULL,
  run INTEGER NOT NULL,
  PRIMARY KEY (cause, peer, run)
) STRICT, WITHOUT ROWID;
-- For those that leave.
CREATE INDEX places_by_run ON places (run);
-- In the order that it has itself, as the indexes have them: that takes neither sorting nor memory.
INSERT OR IGNORE INTO places SELECT '', peer, id >> 6 FROM attempts ORDER BY peer, id;
INSERT OR IGNORE INTO places SELECT cause, x'', id >> 6 FROM attempts WHERE cause IS NOT NULL ORDER BY cause, id;
INSERT OR IGNORE INTO places
  SELECT cause, peer, id >> 6 FROM attempts WHERE cause IS NOT NULL ORDER BY cause, peer, id;
DROP INDEX attempts_by_cause;
DROP INDEX attempts_by_peer;
DROP INDEX attempts_by_cause_and_peer;
