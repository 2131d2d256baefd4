-- Event platforms of others that speak for their own teams and users.

-- Only the digest of a token is kept. The secret that calls of the webhook are signed with is
-- derived from the installation's key, the id and `epoch`, so it is kept nowhere.
CREATE TABLE ctfd_integrations (
    id           TEXT PRIMARY KEY NOT NULL,
    name         TEXT NOT NULL,
    competition  TEXT NOT NULL,
    mode         TEXT NOT NULL CHECK (mode IN ('team', 'user', 'unlimited')),
    token_hash   BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    webhook      TEXT,
    epoch        INTEGER NOT NULL CHECK (epoch >= 0),
    created_by   TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX ctfd_integrations_by_name ON ctfd_integrations (lower(name))
    WHERE revoked_at IS NULL;

-- Which team of ours stands for which team or user of theirs: found by their number only, never by
-- a name, so nobody can be taken for somebody else.
CREATE TABLE ctfd_owners (
    integration TEXT NOT NULL REFERENCES ctfd_integrations (id),
    kind        TEXT NOT NULL CHECK (kind IN ('team', 'user')),
    number      INTEGER NOT NULL CHECK (number > 0),
    team        TEXT NOT NULL UNIQUE REFERENCES teams (id),
    seen_at     INTEGER NOT NULL,
    PRIMARY KEY (integration, kind, number)
) STRICT, WITHOUT ROWID;

-- Solves on their way to a webhook. What was delivered is deleted; what was given up stays, the
-- newest few. Numbers are never given twice: receivers know by them what they have already.
CREATE TABLE ctfd_solves (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    integration TEXT NOT NULL REFERENCES ctfd_integrations (id),
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'dead')),
    body        TEXT NOT NULL CHECK (json_valid(body)),
    created_at  INTEGER NOT NULL,
    next_at     INTEGER NOT NULL,
    n_attempts  INTEGER NOT NULL CHECK (n_attempts >= 0),
    error       TEXT
) STRICT;
CREATE INDEX ctfd_solves_by_integration ON ctfd_solves (state, integration, seq);
