CREATE TABLE regions (
    flow TEXT NOT NULL,
    region TEXT NOT NULL,
    -- The schedule that the cursor belongs to: with another one it begins anew.
    schedule TEXT NOT NULL,
    -- Everything that was due until here is a run.
    looked_until TEXT NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (flow, region)
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
    resolved INTEGER NOT NULL DEFAULT 0,
    -- When it is looked at again, and how often it could not be.
    due_at TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    cancel INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_of_region ON runs (flow, region, due);
CREATE INDEX runs_open ON runs (ended) WHERE ended IS NULL;
CREATE TABLE items (
    run TEXT NOT NULL REFERENCES runs (id),
    item TEXT NOT NULL,
    name TEXT NOT NULL,
    vault TEXT NOT NULL,
    key TEXT NOT NULL,
    step TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    -- Those of them that are limited.
    counted INTEGER NOT NULL DEFAULT 0,
    due_at TEXT,
    sent_at TEXT,
    -- What was asked for, the same however often it is sent.
    keep_until TEXT,
    -- Whether it may have reached Azure without an answer that says so.
    doubt INTEGER NOT NULL DEFAULT 0,
    -- When Azure was last known to have it.
    seen_at TEXT,
    job_started TEXT,
    decision TEXT,
    approval TEXT,
    -- Since when people are asked, and for how many milliseconds they were before.
    asked_at TEXT,
    waited INTEGER NOT NULL DEFAULT 0,
    job TEXT,
    recovery_point TEXT,
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
    failures INTEGER NOT NULL DEFAULT 0,
    failing INTEGER NOT NULL DEFAULT 0,
    -- When it was told last of recovery points that are too old.
    aged TEXT,
    PRIMARY KEY (flow, region, channel)
);
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    run TEXT NOT NULL,
    item TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX events_of_run ON events (run, seq);
