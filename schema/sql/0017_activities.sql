-- What happened in contests, in order: who, for which team, on what. Append-only; the stream of
-- events and the listings of players are made from it.
CREATE TABLE activities (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          INTEGER NOT NULL,
    event       TEXT NOT NULL,
    competition TEXT,
    team        TEXT,
    challenge   TEXT,
    actor       TEXT NOT NULL,
    actor_name  TEXT NOT NULL,
    actor_kind  TEXT NOT NULL CHECK (actor_kind IN ('team', 'node', 'admin', 'system')),
    detail      TEXT NOT NULL CHECK (json_valid(detail))
) STRICT;
CREATE INDEX activities_by_team ON activities (team, seq) WHERE team IS NOT NULL;
CREATE INDEX activities_by_actor ON activities (actor, seq);
