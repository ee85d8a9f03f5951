-- What flows say of their runs: the last word of each. Portable, as the first.

-- A run is one of its flow: nobody else's report can take its place.
CREATE TABLE runs (
    flow    TEXT   NOT NULL,
    id      TEXT   NOT NULL,
    told_at BIGINT NOT NULL,
    ended   BIGINT NOT NULL,
    content TEXT   NOT NULL,
    PRIMARY KEY (flow, id)
);

CREATE INDEX runs_by_time ON runs (told_at);
CREATE INDEX runs_of_flow ON runs (flow, told_at);
