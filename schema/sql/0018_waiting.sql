-- Starts that wait for room on a node. What waits is no instance yet: nothing of it exists, and no
-- limit of a node counts it.
CREATE TABLE waiting (
    -- Who asked first.
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Of the instance that it becomes.
    id          TEXT NOT NULL UNIQUE,
    challenge   TEXT NOT NULL,
    team        TEXT NOT NULL,
    competition TEXT NOT NULL,
    revision    TEXT NOT NULL,
    tree        TEXT NOT NULL,
    -- The lease that was asked for; null is the default.
    ttl_secs    INTEGER,
    asked_at    INTEGER NOT NULL,
    -- Why it never became one.
    error       TEXT,
    -- Since when it is over.
    failed_at   INTEGER,
    actor       TEXT NOT NULL,
    actor_name  TEXT NOT NULL,
    actor_kind  TEXT NOT NULL,
    -- Where the wish came from.
    address     TEXT NOT NULL
) STRICT;

CREATE INDEX waiting_of_team ON waiting (team);
