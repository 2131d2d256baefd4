-- What administrators set while the platform runs, tell everybody, and give back.

-- In place of what is configured. One that is unknown or out of bounds counts as absent.
CREATE TABLE platform_settings (
    key    TEXT PRIMARY KEY NOT NULL,
    value  TEXT NOT NULL CHECK (json_valid(value)),
    set_by TEXT NOT NULL,
    set_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Words of the organizers to everybody, from and until a time where there is one.
CREATE TABLE announcements (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    title           TEXT NOT NULL,
    body            TEXT NOT NULL,
    severity        TEXT NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
    starts_at       INTEGER,
    ends_at         INTEGER,
    created_by      TEXT NOT NULL,
    created_by_name TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    CHECK (starts_at IS NULL OR ends_at IS NULL OR starts_at < ends_at)
) STRICT;

-- Who has read which.
CREATE TABLE announcement_reads (
    user         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    announcement TEXT NOT NULL REFERENCES announcements (id) ON DELETE CASCADE,
    read_at      INTEGER NOT NULL,
    PRIMARY KEY (user, announcement)
) STRICT, WITHOUT ROWID;

-- Wrong attempts that were given back to a team: how many, by whom, why. Append-only.
CREATE TABLE attempt_resets (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    team      TEXT NOT NULL,
    challenge TEXT NOT NULL,
    question  TEXT NOT NULL,
    n_wrong   INTEGER NOT NULL CHECK (n_wrong >= 0),
    reset_by  TEXT NOT NULL,
    reset_at  INTEGER NOT NULL,
    reason    TEXT NOT NULL
) STRICT;
