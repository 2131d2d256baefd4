#!/bin/sh
# Starts the database, pins the caretaker's note, and stays as long as the database does.
set -eu

redis-server /etc/pinboard/redis.conf &
database=$!
trap 'kill "$database"' TERM INT

until redis-cli ping >/dev/null 2>&1; do
    kill -0 "$database"
    sleep 0.02
done
name="caretaker:$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')"
redis-cli -x SET "$name" </answers/flag >/dev/null
wait "$database"
