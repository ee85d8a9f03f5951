-- What flows say of their runs: the last word of each. Portable, as the first.

CREATE TABLE runs (
    id      TEXT   NOT NULL PRIMARY KEY,
    flow    TEXT   NOT NULL,
    told_at BIGINT NOT NULL,
    ended   BIGINT NOT NULL,
    content TEXT   NOT NULL
);

CREATE INDEX runs_by_time ON runs (told_at);
