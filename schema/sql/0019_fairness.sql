-- Which team got a file of which challenge, for the question whether a solve can have been its own.
CREATE TABLE got_files (
    team      TEXT NOT NULL,
    challenge TEXT NOT NULL,
    first_at  INTEGER NOT NULL,
    PRIMARY KEY (team, challenge)
) STRICT, WITHOUT ROWID;

-- What organizers made of a piece of evidence. The evidence itself is worked out from the records.
CREATE TABLE reviews (
    evidence    TEXT PRIMARY KEY,
    verdict     TEXT NOT NULL CHECK (verdict IN ('dismissed', 'confirmed')),
    note        TEXT NOT NULL,
    reviewed_by TEXT NOT NULL,
    reviewed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
