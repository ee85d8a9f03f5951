-- More than one gateway on one store. Portable, as the first.

-- Whose key it is: each gateway settles what it left in flight, by its own log.
ALTER TABLE idempotency ADD COLUMN replica TEXT NOT NULL DEFAULT '';

-- What was counted, in order, for the gateways that share their counters.
CREATE TABLE activity (
    seq     BIGINT NOT NULL PRIMARY KEY,
    replica TEXT   NOT NULL,
    content TEXT   NOT NULL
);

-- Where the store is in its own history: a database that was restored is behind what a
-- gateway has seen, or another server, or on another timeline of it. The epoch counts how
-- often it was taken over from such a one.
CREATE TABLE history (
    id      BIGINT NOT NULL PRIMARY KEY,
    changes BIGINT NOT NULL,
    epoch   BIGINT NOT NULL,
    origin  TEXT   NOT NULL
);

INSERT INTO history (id, changes, epoch, origin) VALUES (1, 0, 0, '');

-- The open approvals of one principal, found without reading everybody's: with a hundred
-- thousand of them a planner that knows no figures took the index by end instead.
DROP INDEX approvals_by_principal;
CREATE INDEX approvals_by_principal ON approvals (principal, state, expires_at);
