-- For the attempts of one cause, of one peer, or of both.
CREATE INDEX attempts_by_cause ON attempts (cause, peer, id);
CREATE INDEX attempts_by_peer ON attempts (peer, id);
