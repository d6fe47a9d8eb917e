-- Of a flight recorder's trace: when the first match occurred, and from when on everything that was told is kept.
ALTER TABLE traces ADD COLUMN matched_ns INTEGER;
ALTER TABLE traces ADD COLUMN recorded_from_ns INTEGER;

-- Rows of an index with equal columns are in the order of `id`, so that one page of attempts of one cause, of one peer,
-- or of both needs no sorting.
DROP INDEX attempts_by_cause;
DROP INDEX attempts_by_peer;
CREATE INDEX attempts_by_cause ON attempts (cause);
CREATE INDEX attempts_by_peer ON attempts (peer);
CREATE INDEX attempts_by_cause_and_peer ON attempts (cause, peer);
