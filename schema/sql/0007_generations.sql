-- What a flip has to remember beside its manifest, and pauses of releases.

-- The branch never goes live again at this commit: somebody went back from it.
ALTER TABLE generations ADD COLUMN left_revision TEXT;

-- Every commit that a release reads from: pinned in the mirror as long as the release is kept.
CREATE TABLE release_revisions (
    release  TEXT NOT NULL REFERENCES releases (id) ON DELETE CASCADE,
    revision TEXT NOT NULL,
    PRIMARY KEY (release, revision)
) STRICT, WITHOUT ROWID;

-- A third kind: nothing goes live.
CREATE TABLE pauses_with_freeze (
    scope  TEXT NOT NULL,
    kind   TEXT NOT NULL CHECK (kind IN ('suspend', 'hold', 'freeze')),
    who    TEXT NOT NULL,
    why    TEXT NOT NULL,
    since  INTEGER NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (scope, kind)
) STRICT, WITHOUT ROWID;
INSERT INTO pauses_with_freeze SELECT * FROM pauses;
DROP TABLE pauses;
ALTER TABLE pauses_with_freeze RENAME TO pauses;
