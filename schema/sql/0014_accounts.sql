-- People, their tokens, and programs that wait for a person to let them in.

-- `password` is an argon2id hash; NULL is an account that nobody can sign in to with a password.
CREATE TABLE users (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,
    email          TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    password       TEXT,
    role           TEXT NOT NULL CHECK (role IN ('user', 'admin', 'super_admin')),
    promoted_by    TEXT,
    promoted_at    INTEGER,
    profile        TEXT NOT NULL CHECK (json_valid(profile)),
    created_at     INTEGER NOT NULL
) STRICT;

-- SHA-256 of each token of an account; the token itself is shown once and kept nowhere. Without
-- `rights` it may do everything that its account may; with them it is a fine-grained one.
CREATE TABLE user_tokens (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    token_id     TEXT NOT NULL UNIQUE,
    token_hash   BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    user         TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    rights       TEXT CHECK (rights IS NULL OR json_valid(rights)),
    label        TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    revoked_at   INTEGER,
    address      TEXT NOT NULL,
    user_agent   TEXT NOT NULL
) STRICT;
CREATE INDEX user_tokens_by_user ON user_tokens (user);

-- Programs that want to be let in: they hold the device code, a person types the user code.
CREATE TABLE device_codes (
    device_hash  BLOB PRIMARY KEY NOT NULL CHECK (length(device_hash) = 32),
    user_code    TEXT NOT NULL UNIQUE,
    state        TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied')),
    user         TEXT REFERENCES users (id) ON DELETE CASCADE,
    requested_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    address      TEXT NOT NULL,
    user_agent   TEXT NOT NULL,
    CHECK ((state = 'approved') = (user IS NOT NULL))
) STRICT, WITHOUT ROWID;

-- Teams belong to one competition, and names are unique only there. `captain` is NULL where a team
-- has tokens of its own instead of members with accounts. A team that everybody left is disbanded,
-- not deleted: its submissions and instances are the record of the event.
CREATE TABLE teams_of_competitions (
    id           TEXT PRIMARY KEY NOT NULL,
    competition  TEXT NOT NULL,
    name         TEXT NOT NULL,
    description  TEXT NOT NULL,
    captain      TEXT REFERENCES users (id),
    created_at   INTEGER NOT NULL,
    disbanded_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO teams_of_competitions (id, competition, name, description, created_at)
SELECT id, 'default', name, '', created_at FROM teams;
CREATE TABLE tokens_of_teams (
    token_id   TEXT PRIMARY KEY NOT NULL,
    token_hash BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    team       TEXT NOT NULL REFERENCES teams_of_competitions (id),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO tokens_of_teams SELECT * FROM team_tokens;
DROP TABLE team_tokens;
DROP TABLE teams;
ALTER TABLE teams_of_competitions RENAME TO teams;
ALTER TABLE tokens_of_teams RENAME TO team_tokens;
CREATE INDEX team_tokens_by_team ON team_tokens (team);
CREATE UNIQUE INDEX teams_by_name ON teams (competition, lower(name)) WHERE disbanded_at IS NULL;

-- Who plays for whom: at most one team for a person in a competition, whatever races.
CREATE TABLE members (
    user        TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    competition TEXT NOT NULL,
    team        TEXT NOT NULL REFERENCES teams (id),
    joined_at   INTEGER NOT NULL,
    PRIMARY KEY (user, competition)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_team ON members (team);

-- Who answered; NULL where a token of a team did.
ALTER TABLE submissions ADD COLUMN user TEXT;
CREATE INDEX submissions_by_user ON submissions (user) WHERE user IS NOT NULL;
