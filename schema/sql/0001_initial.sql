-- The first shape of the database. Times are milliseconds since the Unix epoch (UTC); ids and
-- hashes are text as people see them; booleans are 0 or 1. Once released, never edited: what
-- changes later is another file.

-- The version of each challenge that players get.
CREATE TABLE live (
    challenge TEXT PRIMARY KEY NOT NULL,
    path      TEXT NOT NULL,
    revision  TEXT NOT NULL,
    tree      TEXT NOT NULL,
    since     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest revision read from the remote; at most one row.
CREATE TABLE source (
    one        INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    branch     TEXT NOT NULL,
    revision   TEXT NOT NULL,
    fetched_at INTEGER NOT NULL
) STRICT;

-- Every image that was ever wanted, by what determines it.
CREATE TABLE builds (
    key          TEXT PRIMARY KEY NOT NULL,
    challenge    TEXT NOT NULL,
    service      TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('unbuilt', 'building', 'built', 'failed')),
    image        TEXT CHECK (state <> 'built' OR image IS NOT NULL),
    error        TEXT,
    is_retryable INTEGER NOT NULL CHECK (is_retryable IN (0, 1)),
    log_tail     TEXT NOT NULL,
    queued_at    INTEGER NOT NULL,
    started_at   INTEGER,
    finished_at  INTEGER,
    n_attempts   INTEGER NOT NULL CHECK (n_attempts >= 0)
) STRICT, WITHOUT ROWID;

-- Teams are never deleted: their submissions and instances are the record of the event.
CREATE TABLE teams (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- SHA-256 of each token; the token itself is shown once and kept nowhere.
CREATE TABLE team_tokens (
    token_id   TEXT PRIMARY KEY NOT NULL,
    token_hash BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    team       TEXT NOT NULL REFERENCES teams (id),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX team_tokens_by_team ON team_tokens (team);

-- Every instance there ever was; a stopped one is its own archive. `seq` is the order of asking.
-- No reference to `teams`: an administrator may run an instance for nobody.
CREATE TABLE instances (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    challenge   TEXT NOT NULL,
    team        TEXT NOT NULL,
    competition TEXT NOT NULL,
    node        TEXT NOT NULL,
    revision    TEXT NOT NULL,
    tree        TEXT NOT NULL,
    phase       TEXT NOT NULL CHECK (phase IN ('queued', 'preparing', 'creating', 'starting',
                    'probing', 'ready', 'removing', 'stopped', 'failed')),
    error       TEXT,
    stop_reason TEXT,
    surface     TEXT NOT NULL CHECK (json_valid(surface)),
    created_at  INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    stopped_at  INTEGER,
    ttl_secs    INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    n_restarts  INTEGER NOT NULL,
    spec        TEXT NOT NULL CHECK (json_valid(spec))
) STRICT;
-- The few that are not over among the many that are.
CREATE INDEX instances_not_stopped ON instances (team, node) WHERE phase <> 'stopped';
CREATE INDEX instances_by_challenge ON instances (challenge);
CREATE INDEX instances_by_team ON instances (team);

-- Host ports that we gave out. A held one belongs to an instance that is not over; a freed one
-- rests, the one freed longest ago is taken first when no unused one is left.
CREATE TABLE ports (
    transport TEXT NOT NULL CHECK (transport IN ('tcp', 'udp')),
    port      INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    instance  TEXT REFERENCES instances (id),
    freed_seq INTEGER NOT NULL,
    PRIMARY KEY (transport, port)
) STRICT, WITHOUT ROWID;
CREATE INDEX ports_by_instance ON ports (instance) WHERE instance IS NOT NULL;

-- Networks made ahead or in use. The row is committed before the engine is asked.
CREATE TABLE networks (
    subnet      TEXT PRIMARY KEY NOT NULL,
    name        TEXT NOT NULL UNIQUE,
    bridge      TEXT NOT NULL UNIQUE,
    engine_id   TEXT,
    is_internal INTEGER NOT NULL CHECK (is_internal IN (0, 1)),
    instance    TEXT REFERENCES instances (id),
    wish        TEXT,
    state       TEXT NOT NULL CHECK (state IN ('intent', 'ready', 'used')),
    touched_at  INTEGER NOT NULL,
    CHECK ((instance IS NULL) = (wish IS NULL)),
    CHECK ((state = 'used') = (instance IS NOT NULL)),
    CHECK (state = 'intent' OR engine_id IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX networks_by_owner ON networks (instance, wish) WHERE instance IS NOT NULL;

-- Subnets that others on this machine use; not handed out until then.
CREATE TABLE blocked_subnets (
    subnet TEXT PRIMARY KEY NOT NULL,
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Numbers that only move forward: where the next subnet is looked for, which port was freed last.
CREATE TABLE cursors (
    name  TEXT PRIMARY KEY NOT NULL,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every graded attempt.
CREATE TABLE submissions (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    team            TEXT NOT NULL,
    challenge       TEXT NOT NULL,
    instance        TEXT,
    question        TEXT NOT NULL,
    claimed         TEXT NOT NULL,
    is_correct      INTEGER NOT NULL CHECK (is_correct IN (0, 1)),
    submitted_at    INTEGER NOT NULL,
    solve_time_secs REAL NOT NULL,
    revision        TEXT NOT NULL
) STRICT;
CREATE INDEX submissions_by_team ON submissions (team, challenge);

-- Wrong attempts, submitted or only checked, against the caps.
CREATE TABLE wrong_attempts (
    team      TEXT NOT NULL,
    challenge TEXT NOT NULL,
    question  TEXT NOT NULL,
    n         INTEGER NOT NULL CHECK (n > 0),
    PRIMARY KEY (team, challenge, question)
) STRICT, WITHOUT ROWID;

-- The first right answer of each team to each question. `rank` 1 is first blood.
CREATE TABLE solves (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    team      TEXT NOT NULL,
    challenge TEXT NOT NULL,
    question  TEXT NOT NULL,
    solved_at INTEGER NOT NULL,
    rank      INTEGER NOT NULL CHECK (rank > 0),
    UNIQUE (team, challenge, question),
    UNIQUE (challenge, question, rank)
) STRICT;

-- What is true now, and since when.
CREATE TABLE conditions (
    scope    TEXT NOT NULL,
    kind     TEXT NOT NULL,
    status   TEXT NOT NULL CHECK (status IN ('True', 'False', 'Unknown')),
    reason   TEXT NOT NULL,
    message  TEXT NOT NULL,
    since    INTEGER NOT NULL,
    revision TEXT,
    PRIMARY KEY (scope, kind)
) STRICT, WITHOUT ROWID;

-- Each change of a condition's status; append-only, the oldest leave when there are too many.
CREATE TABLE events (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    scope    TEXT NOT NULL,
    kind     TEXT NOT NULL,
    status   TEXT NOT NULL,
    reason   TEXT NOT NULL,
    message  TEXT NOT NULL,
    revision TEXT
) STRICT;
