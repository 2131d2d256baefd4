-- The images that a generation went live with, as they were then: an image that is taken away and
-- built anew later has another id. With the time at which the attempt that made it began.
CREATE TABLE generation_images (
    generation INTEGER NOT NULL REFERENCES generations (number) ON DELETE CASCADE,
    key        TEXT NOT NULL,
    image      TEXT NOT NULL,
    started_at INTEGER,
    PRIMARY KEY (generation, key)
) STRICT, WITHOUT ROWID;

-- What is live now; of earlier generations nobody wrote it down.
INSERT INTO generation_images (generation, key, image, started_at)
SELECT DISTINCT g.number, b.key, b.image, b.started_at
FROM active a
JOIN generations g ON g.number = a.generation
JOIN releases r ON r.id = g.release
JOIN json_each(r.manifest, '$.challenges') c
JOIN json_each(c.value, '$.images') i
JOIN builds b ON b.key = i.value
WHERE b.image NOT NULL;
