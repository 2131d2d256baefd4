-- What administrators look at is asked for by time.
CREATE INDEX activities_by_time ON activities (at);
CREATE INDEX submissions_by_time ON submissions (submitted_at);
