-- `changes` with row ids: the connection that writes is told of every change of such a table, and of no
-- change of one without. Row 1 counts changes of teams, row 2 those of who holds a token.
CREATE TABLE counted_changes (
    id       INTEGER PRIMARY KEY,
    of_table TEXT NOT NULL UNIQUE,
    n        INTEGER NOT NULL
) STRICT;
INSERT INTO counted_changes (id, of_table, n) SELECT 1, of_table, n FROM changes WHERE of_table = 'teams';
INSERT INTO counted_changes (id, of_table, n) VALUES (2, 'holders', 1);
DROP TRIGGER teams_inserted;
DROP TRIGGER teams_updated;
DROP TRIGGER teams_deleted;
DROP TABLE changes;
ALTER TABLE counted_changes RENAME TO changes;

CREATE TRIGGER teams_inserted AFTER INSERT ON teams
BEGIN UPDATE changes SET n = n + 1 WHERE id = 1; END;
CREATE TRIGGER teams_updated AFTER UPDATE ON teams
BEGIN UPDATE changes SET n = n + 1 WHERE id = 1; END;
CREATE TRIGGER teams_deleted AFTER DELETE ON teams
BEGIN UPDATE changes SET n = n + 1 WHERE id = 1; END;

CREATE TRIGGER team_tokens_inserted AFTER INSERT ON team_tokens
BEGIN UPDATE changes SET n = n + 1 WHERE id = 2; END;
CREATE TRIGGER team_tokens_updated AFTER UPDATE ON team_tokens
BEGIN UPDATE changes SET n = n + 1 WHERE id = 2; END;
CREATE TRIGGER team_tokens_deleted AFTER DELETE ON team_tokens
BEGIN UPDATE changes SET n = n + 1 WHERE id = 2; END;

CREATE TRIGGER members_inserted AFTER INSERT ON members
BEGIN UPDATE changes SET n = n + 1 WHERE id = 2; END;
CREATE TRIGGER members_updated AFTER UPDATE ON members
BEGIN UPDATE changes SET n = n + 1 WHERE id = 2; END;
CREATE TRIGGER members_deleted AFTER DELETE ON members
BEGIN UPDATE changes SET n = n + 1 WHERE id = 2; END;

-- When a token was used last changes nothing of what it may do.
CREATE TRIGGER user_tokens_inserted AFTER INSERT ON user_tokens
BEGIN UPDATE changes SET n = n + 1 WHERE id = 2; END;
CREATE TRIGGER user_tokens_updated
AFTER UPDATE OF token_id, token_hash, user, rights, label, expires_at, revoked_at ON user_tokens
BEGIN UPDATE changes SET n = n + 1 WHERE id = 2; END;
CREATE TRIGGER user_tokens_deleted AFTER DELETE ON user_tokens
BEGIN UPDATE changes SET n = n + 1 WHERE id = 2; END;
