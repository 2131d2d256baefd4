-- Whom the gateway of an instance lets in, as it was told last: names of certificates, sorted, as JSON;
-- NULL while it is being told, which may have come to nothing. `number` counts up with each telling, so
-- that a later one is known from an earlier one that arrives late.
CREATE TABLE vpn_told (
    instance TEXT PRIMARY KEY NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
    number   INTEGER NOT NULL CHECK (number > 0),
    names    TEXT
) STRICT, WITHOUT ROWID;

-- That follows from the above.
ALTER TABLE vpn_access DROP COLUMN is_applied;

-- Who may connect to an instance of a node, as its platform said with `vpn_number`; NULL where the
-- platform said nothing.
ALTER TABLE given_answers ADD COLUMN vpn_seats TEXT;
ALTER TABLE given_answers ADD COLUMN vpn_number INTEGER NOT NULL DEFAULT 0;
