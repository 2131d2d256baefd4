-- Networks that the hub of a team is or may be on. Each is removed once its instance is done with it, and
-- never handed on: whatever may still be on it is taken off with it.
ALTER TABLE networks ADD COLUMN is_single_use INTEGER NOT NULL DEFAULT 0 CHECK (is_single_use IN (0, 1));

-- The hubs of teams: gateways that lead to all engagements of a team. Written before the row of the
-- instance that runs it. `networks` is where it was told to lead last, as JSON; NULL while it is told.
CREATE TABLE hubs (
    instance TEXT PRIMARY KEY NOT NULL,
    team     TEXT NOT NULL,
    networks TEXT
) STRICT, WITHOUT ROWID;
