-- Ways into a team: codes that anybody may use, invitations of one person, requests of one person.
CREATE TABLE team_invites (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    code        TEXT NOT NULL UNIQUE,
    team        TEXT NOT NULL REFERENCES teams (id),
    competition TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('code', 'direct', 'join_request')),
    target_user TEXT REFERENCES users (id) ON DELETE CASCADE,
    created_by  TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    max_uses    INTEGER NOT NULL CHECK (max_uses >= 0),
    n_uses      INTEGER NOT NULL CHECK (n_uses >= 0),
    revoked_at  INTEGER,
    CHECK ((kind = 'code') = (target_user IS NULL))
) STRICT;
CREATE INDEX team_invites_by_team ON team_invites (team);
CREATE INDEX team_invites_by_target ON team_invites (target_user) WHERE target_user IS NOT NULL;
