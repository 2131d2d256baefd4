-- What bears our labels although its instance is over, since when that was seen: it goes only when a
-- later listing sees it again.
CREATE TABLE tombstones (
    kind     TEXT NOT NULL CHECK (kind IN ('container', 'volume', 'network')),
    object   TEXT NOT NULL,
    -- Empty for what belongs to no instance.
    instance TEXT NOT NULL,
    seen_at  INTEGER NOT NULL,
    PRIMARY KEY (kind, object, instance)
) STRICT, WITHOUT ROWID;
