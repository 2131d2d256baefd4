-- Tags and what people decided about them, releases, and which of them players have.

-- Every object that a tag of the remote was ever seen to name. Append-only: what moved stays told.
CREATE TABLE tag_sightings (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    tag        TEXT NOT NULL,
    object     TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    UNIQUE (tag, object)
) STRICT;

-- What each tag names now; NULL when the remote does not have it any more.
CREATE TABLE tags (
    tag    TEXT PRIMARY KEY NOT NULL,
    object TEXT
) STRICT, WITHOUT ROWID;

-- What people decided about one object of a tag.
CREATE TABLE tag_decisions (
    tag    TEXT NOT NULL,
    object TEXT NOT NULL,
    kind   TEXT NOT NULL CHECK (kind IN ('approve', 'accept_move', 'quarantine')),
    who    TEXT NOT NULL,
    why    TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (tag, object, kind)
) STRICT, WITHOUT ROWID;

-- Versions of challenges that never go live again.
CREATE TABLE quarantined_versions (
    challenge TEXT NOT NULL,
    tree      TEXT NOT NULL,
    who       TEXT NOT NULL,
    why       TEXT NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (challenge, tree)
) STRICT, WITHOUT ROWID;

-- What was released, by the hash of its manifest. Never changed.
CREATE TABLE releases (
    id         TEXT PRIMARY KEY NOT NULL,
    manifest   TEXT NOT NULL CHECK (json_valid(manifest)),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Each going live. A rollback is a new one of an old release.
CREATE TABLE generations (
    number  INTEGER PRIMARY KEY NOT NULL,
    release TEXT NOT NULL REFERENCES releases (id),
    cause   TEXT NOT NULL CHECK (cause IN ('branch', 'tag', 'rollback', 'revert')),
    who     TEXT NOT NULL,
    why     TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT;

-- The generation that players have; `live` is its manifest, row by row. At most one row.
CREATE TABLE active (
    one        INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    generation INTEGER NOT NULL REFERENCES generations (number)
) STRICT;

-- What people did to what is live, and why. Append-only.
CREATE TABLE audit (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    who    TEXT NOT NULL,
    what   TEXT NOT NULL,
    object TEXT NOT NULL,
    why    TEXT NOT NULL
) STRICT;
