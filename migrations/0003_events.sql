-- What happened, in order. Rows beyond the configured bound are deleted from the lowest `seq`.
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY,
    time_ns    INTEGER NOT NULL,
    type       TEXT NOT NULL,
    action     TEXT NOT NULL,
    actor      TEXT NOT NULL,
    attributes TEXT NOT NULL CHECK (json_valid(attributes))
) STRICT;
