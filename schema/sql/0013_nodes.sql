-- Machines that run instances beside this one, and who may become one.

-- `token` is shown by both sides, so it is kept as it is. `life` and `beat` tell an old heartbeat
-- from a new one. `report` is what the node said last.
CREATE TABLE nodes (
    id            TEXT PRIMARY KEY NOT NULL,
    url           TEXT NOT NULL,
    name          TEXT NOT NULL,
    capacity      INTEGER NOT NULL CHECK (capacity >= 0),
    labels        TEXT NOT NULL CHECK (json_valid(labels)),
    duty          TEXT NOT NULL CHECK (duty IN ('active', 'cordoned', 'draining')),
    token         TEXT NOT NULL,
    tls_pin       TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    last_beat     INTEGER NOT NULL,
    life          TEXT NOT NULL,
    beat          INTEGER NOT NULL,
    is_lost       INTEGER NOT NULL CHECK (is_lost IN (0, 1)),
    report        TEXT NOT NULL CHECK (json_valid(report))
) STRICT, WITHOUT ROWID;

-- SHA-256 of each invitation; the invitation itself is shown once and kept nowhere.
CREATE TABLE node_invites (
    id          TEXT PRIMARY KEY NOT NULL,
    token_hash  BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    consumed_by TEXT
) STRICT, WITHOUT ROWID;

-- The last heartbeats of each node, and looks that found none.
CREATE TABLE node_samples (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    node           TEXT NOT NULL,
    at             INTEGER NOT NULL,
    is_healthy     INTEGER NOT NULL CHECK (is_healthy IN (0, 1)),
    cpu_percent    REAL NOT NULL,
    memory_percent REAL NOT NULL,
    disk_percent   REAL NOT NULL,
    latency_ms     REAL NOT NULL
) STRICT;
CREATE INDEX node_samples_by_node ON node_samples (node, seq);

CREATE TABLE node_events (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    node   TEXT NOT NULL,
    kind   TEXT NOT NULL,
    detail TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;
CREATE INDEX node_events_by_node ON node_events (node, seq);

-- Answers that the platform minted for instances of this node. They live as long as the instance
-- does, because containers that are made anew need the same ones.
CREATE TABLE given_answers (
    instance TEXT PRIMARY KEY NOT NULL,
    answers  TEXT NOT NULL CHECK (json_valid(answers)),
    team     TEXT NOT NULL,
    fence_secs INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What placement counts with: the limits of an instance's services together.
ALTER TABLE instances ADD COLUMN memory_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN cpu_millis INTEGER NOT NULL DEFAULT 0;
CREATE INDEX instances_by_node ON instances (node) WHERE phase NOT IN ('stopped', 'failed');
