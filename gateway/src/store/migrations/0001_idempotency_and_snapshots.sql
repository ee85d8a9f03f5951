-- Portable: the same text runs on SQLite and on PostgreSQL. Times are milliseconds
-- since 1970, identifiers and digests are text.

CREATE TABLE idempotency (
    scope       TEXT   NOT NULL PRIMARY KEY,
    principal   TEXT   NOT NULL,
    decision    TEXT   NOT NULL UNIQUE,
    body_digest TEXT   NOT NULL,
    method      TEXT   NOT NULL,
    target      TEXT   NOT NULL,
    vault       TEXT,
    state       TEXT   NOT NULL CHECK (state IN ('in-flight', 'unknown', 'completed', 'not-kept')),
    status      BIGINT,
    headers     TEXT,
    body        BYTEA,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT,
    expires_at  BIGINT
);

CREATE INDEX idempotency_by_principal ON idempotency (principal, finished_at);
CREATE INDEX idempotency_by_state ON idempotency (state, started_at);
CREATE INDEX idempotency_by_expiry ON idempotency (expires_at);

CREATE TABLE snapshots (
    name      TEXT   NOT NULL PRIMARY KEY,
    log_index BIGINT NOT NULL,
    taken_at  BIGINT NOT NULL,
    digest    TEXT   NOT NULL,
    content   BYTEA  NOT NULL
);

-- One row that `probe` rewrites to learn whether the store can still be written.
CREATE TABLE liveness (
    id      BIGINT NOT NULL PRIMARY KEY,
    touched BIGINT NOT NULL
);

INSERT INTO liveness (id, touched) VALUES (1, 0);
