-- Approvals, stopped identities, the freeze, deletions. Portable, as the first.

CREATE TABLE approvals (
    id         TEXT   NOT NULL PRIMARY KEY,
    principal  TEXT   NOT NULL,
    request    TEXT   NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('pending', 'approved', 'rejected', 'vetoed',
                                                'expired', 'void', 'used')),
    version    BIGINT NOT NULL,
    asked_at   BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    content    TEXT   NOT NULL
);

CREATE INDEX approvals_by_principal ON approvals (principal, state);
CREATE INDEX approvals_by_state ON approvals (state, asked_at);
CREATE INDEX approvals_by_end ON approvals (state, expires_at);

CREATE TABLE quarantine (
    id         TEXT   NOT NULL PRIMARY KEY,
    state      TEXT   NOT NULL CHECK (state IN ('held', 'released')),
    version    BIGINT NOT NULL,
    since      BIGINT NOT NULL,
    content    TEXT   NOT NULL
);

CREATE INDEX quarantine_by_state ON quarantine (state, since);

-- One row: what holds everywhere at once.
CREATE TABLE incident (
    id         BIGINT NOT NULL PRIMARY KEY,
    version    BIGINT NOT NULL,
    content    TEXT   NOT NULL
);

INSERT INTO incident (id, version, content) VALUES (1, 0, '{}');

-- What was deleted, and until when Azure keeps it.
CREATE TABLE deletions (
    decision   TEXT   NOT NULL PRIMARY KEY,
    resource   TEXT   NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('deleted', 'taken-back')),
    deleted_at BIGINT NOT NULL,
    until      BIGINT,
    content    TEXT   NOT NULL
);

CREATE INDEX deletions_by_resource ON deletions (resource, state);
