-- Who was told what about a condition that is, or a moment ago was, bad.
CREATE TABLE alarms (
    scope         TEXT NOT NULL,
    kind          TEXT NOT NULL,
    phase         TEXT NOT NULL CHECK (phase IN ('failing', 'recovered', 'over')),
    -- The condition as it was last looked at.
    status        TEXT NOT NULL CHECK (status IN ('True', 'False', 'Unknown')),
    reason        TEXT NOT NULL,
    message       TEXT NOT NULL,
    since         INTEGER NOT NULL,
    revision      TEXT,
    -- The reason of the failure, and since when.
    failed        TEXT NOT NULL,
    failing_since INTEGER NOT NULL,
    -- Notices of this episode.
    n_told        INTEGER NOT NULL CHECK (n_told >= 0),
    -- JSON: by reason, when it was last told and how often in this episode.
    told          TEXT NOT NULL,
    PRIMARY KEY (scope, kind)
) STRICT, WITHOUT ROWID;

-- Notices on their way. What was delivered is deleted; what was given up stays, the newest few.
CREATE TABLE notices (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The type of the condition: notices of one type are delivered in order.
    kind       TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('waiting', 'dead')),
    body       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    next_at    INTEGER NOT NULL,
    n_attempts INTEGER NOT NULL CHECK (n_attempts >= 0),
    error      TEXT
) STRICT;
CREATE INDEX notices_by_kind ON notices (state, kind, seq);
