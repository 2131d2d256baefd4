-- What a reset makes anew, the last death of a service, and what somebody keeps flagops from doing.

-- How often its containers were made anew on request, and which answers are the valid ones.
ALTER TABLE instances ADD COLUMN n_resets INTEGER NOT NULL DEFAULT 0 CHECK (n_resets >= 0);
ALTER TABLE instances ADD COLUMN answer_epoch INTEGER NOT NULL DEFAULT 0 CHECK (answer_epoch >= 0);
-- The last service that died: which, how, when, how often lately.
ALTER TABLE instances ADD COLUMN last_death TEXT CHECK (last_death IS NULL OR json_valid(last_death));

-- Who keeps flagops from what, why, and until when. At most one of each kind for one object.
CREATE TABLE pauses (
    scope  TEXT NOT NULL,
    kind   TEXT NOT NULL CHECK (kind IN ('suspend', 'hold')),
    who    TEXT NOT NULL,
    why    TEXT NOT NULL,
    since  INTEGER NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (scope, kind)
) STRICT, WITHOUT ROWID;
