-- Instants are text of one length, so that their order is that of time.
CREATE TABLE lease (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL,
    -- Whoever holds the lease has this number; a later one ends the right of the earlier.
    token BIGINT NOT NULL,
    -- Goes up as long as the holder lives.
    beat BIGINT NOT NULL,
    -- Empty where the last one let it go.
    holder TEXT NOT NULL
);
INSERT INTO lease (id, version, token, beat, holder) VALUES (1, 2, 0, 0, '');
CREATE TABLE regions (
    flow TEXT NOT NULL,
    region TEXT NOT NULL,
    -- The schedule that the cursor belongs to: with another one it begins anew.
    schedule TEXT NOT NULL,
    -- Everything that was due until here is a run.
    looked_until TEXT NOT NULL,
    paused BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (flow, region)
);
-- Who each flow is at the gateway.
CREATE TABLE callers (
    flow TEXT NOT NULL PRIMARY KEY,
    who TEXT NOT NULL
);
CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    flow TEXT NOT NULL,
    region TEXT NOT NULL,
    digest TEXT NOT NULL,
    due TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    started TEXT,
    ended TEXT,
    -- Whether its items are known, and stay what they are.
    resolved BIGINT NOT NULL DEFAULT 0,
    -- When it is looked at again, and how often it could not be.
    due_at TEXT,
    attempts BIGINT NOT NULL DEFAULT 0,
    cancel BIGINT NOT NULL DEFAULT 0,
    -- The state and reason that the gateway was told last.
    reported TEXT NOT NULL DEFAULT ''
);
CREATE INDEX runs_of_region ON runs (flow, region, due);
CREATE INDEX runs_ended ON runs (flow, region, ended);
CREATE INDEX runs_open ON runs (flow, region) WHERE ended IS NULL;
CREATE TABLE items (
    run TEXT NOT NULL REFERENCES runs (id),
    item TEXT NOT NULL,
    name TEXT NOT NULL,
    vault TEXT NOT NULL,
    -- ARM id of what is protected, where Azure tells it.
    source TEXT NOT NULL DEFAULT '',
    key TEXT NOT NULL,
    step TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    attempts BIGINT NOT NULL DEFAULT 0,
    -- Those of them that are limited.
    counted BIGINT NOT NULL DEFAULT 0,
    due_at TEXT,
    sent_at TEXT,
    -- What was asked for, the same however often it is sent.
    keep_until TEXT,
    -- Whether it may have reached Azure without an answer that says so.
    doubt BIGINT NOT NULL DEFAULT 0,
    -- When Azure was last known to have it.
    seen_at TEXT,
    job_started TEXT,
    decision TEXT,
    approval TEXT,
    -- Since when people are asked, and for how many milliseconds they were before.
    asked_at TEXT,
    waited BIGINT NOT NULL DEFAULT 0,
    job TEXT,
    recovery_point TEXT,
    -- The recovery point that a drill restores.
    point TEXT,
    PRIMARY KEY (run, item)
);
CREATE INDEX items_backed_up ON items (item, recovery_point) WHERE recovery_point IS NOT NULL;
CREATE TABLE told (
    flow TEXT NOT NULL,
    region TEXT NOT NULL,
    channel TEXT NOT NULL,
    -- Since when the channel is asked about, and the end of the last run that it was.
    since TEXT NOT NULL,
    until TEXT,
    failures BIGINT NOT NULL DEFAULT 0,
    failing BIGINT NOT NULL DEFAULT 0,
    -- When it was told last of recovery points that are too old.
    aged TEXT,
    PRIMARY KEY (flow, region, channel)
);
CREATE TABLE events (
    run TEXT NOT NULL,
    seq BIGINT NOT NULL,
    at TEXT NOT NULL,
    item TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (run, seq)
);
