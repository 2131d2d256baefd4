-- VPN profiles that were rotated or revoked; of a holder without a row the first one is valid. `holder`
-- is a team, or a member where members are known. `applied` is what the gateway was told last.
CREATE TABLE vpn_access (
    instance   TEXT NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    holder     TEXT NOT NULL,
    serial     INTEGER NOT NULL CHECK (serial > 0),
    is_revoked INTEGER NOT NULL CHECK (is_revoked IN (0, 1)),
    is_applied INTEGER NOT NULL CHECK (is_applied IN (0, 1)),
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (instance, holder)
) STRICT, WITHOUT ROWID;
