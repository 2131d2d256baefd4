-- How often a table changed: who keeps what its rows say asks for one number instead of all rows.
CREATE TABLE changes (
    of_table TEXT PRIMARY KEY NOT NULL,
    n        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO changes (of_table, n) VALUES ('teams', 1);

CREATE TRIGGER teams_inserted AFTER INSERT ON teams
BEGIN UPDATE changes SET n = n + 1 WHERE of_table = 'teams'; END;
CREATE TRIGGER teams_updated AFTER UPDATE ON teams
BEGIN UPDATE changes SET n = n + 1 WHERE of_table = 'teams'; END;
CREATE TRIGGER teams_deleted AFTER DELETE ON teams
BEGIN UPDATE changes SET n = n + 1 WHERE of_table = 'teams'; END;
