-- What the garbage collection of images needs to know: what is used, and what was used before.

-- The images that a version consists of, by what determines them. Written before it goes live.
CREATE TABLE version_images (
    challenge TEXT NOT NULL,
    tree      TEXT NOT NULL,
    key       TEXT NOT NULL,
    PRIMARY KEY (challenge, tree, key)
) STRICT, WITHOUT ROWID;

-- The versions that were live before the one that is; `seq` is the order in which they ended. The
-- last two of each challenge are kept.
CREATE TABLE previous_versions (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    challenge TEXT NOT NULL,
    revision  TEXT NOT NULL,
    tree      TEXT NOT NULL,
    since     INTEGER NOT NULL,
    until     INTEGER NOT NULL,
    UNIQUE (challenge, tree)
) STRICT;

-- When an image was last used: an instance of it was asked for, or a version with it went live or
-- made room for the next.
CREATE TABLE image_uses (
    image   TEXT PRIMARY KEY NOT NULL,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
