-- Files that were taken out of images for players, by the image and the path in it: the same bytes for
-- everybody, kept by their digest in the data directory. With `fault` there is none, and why: an image
-- does not change, so that is final. They go with the image.
CREATE TABLE exports (
    node       TEXT NOT NULL,
    image      TEXT NOT NULL,
    path       TEXT NOT NULL,
    key        TEXT NOT NULL REFERENCES builds (key) ON DELETE CASCADE,
    sha256     TEXT,
    size_bytes INTEGER,
    fault      TEXT,
    PRIMARY KEY (node, image, path),
    CHECK ((sha256 IS NULL) = (size_bytes IS NULL)),
    CHECK ((sha256 IS NULL) <> (fault IS NULL))
) STRICT, WITHOUT ROWID;
