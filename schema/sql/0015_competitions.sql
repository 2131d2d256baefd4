-- Competitions: those that files of the repository declare, and those that administrators made.

-- What a file declared when it was last without a fault. A file with a fault changes nothing here;
-- one that is gone takes its row away.
CREATE TABLE declared_competitions (
    id         TEXT PRIMARY KEY NOT NULL,
    revision   TEXT NOT NULL,
    declared   TEXT NOT NULL CHECK (json_valid(declared)),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE competitions (
    id              TEXT PRIMARY KEY NOT NULL,
    title           TEXT NOT NULL,
    description     TEXT NOT NULL,
    status          TEXT NOT NULL CHECK (status IN ('draft', 'published', 'archived')),
    access          TEXT NOT NULL CHECK (access IN ('public', 'private_listed', 'private_hidden')),
    starts_at       INTEGER,
    ends_at         INTEGER,
    challenges      TEXT NOT NULL CHECK (json_valid(challenges)),
    created_by      TEXT,
    created_by_name TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    CHECK (starts_at IS NULL OR ends_at IS NULL OR starts_at < ends_at)
) STRICT, WITHOUT ROWID;

-- Who runs one competition without being an administrator, and who may take part in a private one.
CREATE TABLE competition_people (
    competition TEXT NOT NULL,
    user        TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind        TEXT NOT NULL CHECK (kind IN ('admin', 'invited')),
    by          TEXT NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (competition, kind, user)
) STRICT, WITHOUT ROWID;
