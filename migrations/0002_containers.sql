-- A container. What is queried or constrained has a column; the rest of what was asked for is `spec`.
CREATE TABLE containers (
    id          TEXT PRIMARY KEY CHECK (length(id) = 64),
    name        TEXT NOT NULL UNIQUE CHECK (length(name) > 0),
    created_ns  INTEGER NOT NULL,
    -- The image as it was when the container was made. The image may be deleted by force later: the layers stay.
    image_id    TEXT NOT NULL,
    -- Chain id of the topmost layer; with its parents it stays as long as the container does.
    layer       TEXT NOT NULL REFERENCES layers (chain_id),
    -- 1: nothing of it need survive a power cut.
    auto_remove INTEGER NOT NULL CHECK (auto_remove IN (0, 1)),
    spec        TEXT NOT NULL CHECK (json_valid(spec)),
    -- Lifecycle in daemon/src/container/lifecycle.rs; its facts are in `facts`.
    state       TEXT NOT NULL CHECK (state IN ('created', 'starting', 'running', 'paused', 'exited', 'removing')),
    facts       TEXT NOT NULL CHECK (json_valid(facts))
) STRICT;

CREATE INDEX containers_layer ON containers (layer);
