-- The archive of instances that are over. A record is written in the transaction that ends its
-- instance, a later end replaces it, and it stands by itself: the columns are those of `instances`
-- when it ended. `error_detail` is for organizers.
CREATE TABLE instance_records (
    id           TEXT PRIMARY KEY NOT NULL,
    challenge    TEXT NOT NULL,
    team         TEXT NOT NULL,
    competition  TEXT NOT NULL,
    node         TEXT NOT NULL,
    revision     TEXT NOT NULL,
    tree         TEXT NOT NULL,
    phase        TEXT NOT NULL CHECK (phase IN ('stopped', 'failed')),
    error        TEXT,
    error_detail TEXT NOT NULL,
    stop_reason  TEXT,
    surface      TEXT NOT NULL CHECK (json_valid(surface)),
    created_at   INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    stopped_at   INTEGER,
    ttl_secs     INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    n_restarts   INTEGER NOT NULL,
    n_resets     INTEGER NOT NULL,
    answer_epoch INTEGER NOT NULL,
    last_death   TEXT CHECK (last_death IS NULL OR json_valid(last_death))
) STRICT, WITHOUT ROWID;
CREATE INDEX instance_records_by_start ON instance_records (created_at);
CREATE INDEX instance_records_by_end ON instance_records (stopped_at);

INSERT INTO instance_records
SELECT id, challenge, team, competition, node, revision, tree, phase, error, '', stop_reason,
       surface, created_at, started_at, stopped_at, ttl_secs, expires_at, n_restarts, n_resets,
       answer_epoch, last_death
FROM instances
WHERE phase IN ('stopped', 'failed') AND competition NOT IN ('canary', 'isolation');

-- What its containers wrote, taken before they were removed: zlib, answers masked. No reference: it
-- is there before the record is.
CREATE TABLE instance_logs (
    instance TEXT PRIMARY KEY NOT NULL,
    n_resets INTEGER NOT NULL,
    taken_at INTEGER NOT NULL,
    packed   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX instance_logs_by_time ON instance_logs (taken_at);
