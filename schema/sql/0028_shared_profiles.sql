-- VPN profiles of one person that were connected from several addresses at once.
CREATE TABLE shared_profiles (
    instance  TEXT NOT NULL,
    holder    TEXT NOT NULL,
    addresses TEXT NOT NULL, -- JSON, the first ones that were seen
    first_at  INTEGER NOT NULL,
    last_at   INTEGER NOT NULL,
    PRIMARY KEY (instance, holder)
) STRICT, WITHOUT ROWID;
