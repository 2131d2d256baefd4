-- What forges told us, and what they are told.

-- Deliveries of webhooks that were taken, so that the same one twice is one. The newest few.
CREATE TABLE webhook_deliveries (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The digest of what the forge calls it: whatever a stranger sends, a row has one length.
    delivery TEXT NOT NULL UNIQUE,
    at       INTEGER NOT NULL
) STRICT;

-- The newest status of each commit in each context, and whether the forge has it. A newer one takes
-- the place of an older one that waits; commits of long ago are forgotten.
CREATE TABLE commit_statuses (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    revision    TEXT NOT NULL,
    context     TEXT NOT NULL CHECK (context IN ('flagops/validate', 'flagops/build', 'flagops/release')),
    state       TEXT NOT NULL CHECK (state IN ('pending', 'success', 'failure', 'error')),
    description TEXT NOT NULL,
    delivery    TEXT NOT NULL CHECK (delivery IN ('waiting', 'delivered', 'dead')),
    created_at  INTEGER NOT NULL,
    next_at     INTEGER NOT NULL,
    n_attempts  INTEGER NOT NULL CHECK (n_attempts >= 0),
    error       TEXT,
    UNIQUE (revision, context)
) STRICT;
CREATE INDEX commit_statuses_waiting ON commit_statuses (delivery, seq);
