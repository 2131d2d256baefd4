#!/bin/sh
# Writes the value for this instance where the other service finds it, and ends.
set -eu
printf '%s' "$ANSWER_FLAG" >/out/flag
chmod 0444 /out/flag
