-- What came of running a challenge's own exploit against a fresh instance of it, by version and
-- node: the last time only.
CREATE TABLE proofs (
    challenge   TEXT NOT NULL,
    tree        TEXT NOT NULL,
    node        TEXT NOT NULL,
    revision    TEXT NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome IN ('proven', 'failed', 'no_exploit')),
    message     TEXT NOT NULL,
    took_millis INTEGER NOT NULL CHECK (took_millis >= 0),
    at          INTEGER NOT NULL,
    PRIMARY KEY (challenge, tree, node)
) STRICT, WITHOUT ROWID;
