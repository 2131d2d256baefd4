# Sourced by every script here: where the repository is, how we speak, how we become root.
# shellcheck shell=bash

REPO_DIR=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# Everything that is made at run time lives here and is ignored by git.
RUN_DIR=${RUN_DIR:-$REPO_DIR/.run}
# debootstrap and dockerd live in sbin, which an ordinary user's PATH may lack.
PATH=$PATH:$HOME/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin
export REPO_DIR RUN_DIR PATH

# One plain sentence about what happens now.
say() { printf '==> %s\n' "$*" >&2; }

# What went wrong, and what to do about it.
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    local line
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Runs a command as root: directly, or through sudo where we are somebody else.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        die "this step needs root: $*" "Run it as root, or install sudo."
    fi
}

# Whether an engine answers a real question. A socket alone proves nothing.
engine_answers() { has docker && timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Fetches a program of Debian's into a folder, once: unpacked and not installed, because what tests use
# is neither to be started for the whole machine nor to change how it works.
#   ensure_unpacked PACKAGE FOLDER PROGRAM WAY_OUT
ensure_unpacked() {
    local package=$1 into=$2 program=$3 way_out=$4
    if [ -x "$into/$program" ]; then return; fi
    has apt-get || die "$package is missing and there is no apt-get here" "$way_out"
    say "Fetching $package."
    local folder
    folder=$(mktemp -d)
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q >/dev/null
    # As root apt fetches as `_apt`, which may not write into a folder of ours.
    (cd "$folder" && chmod 755 . && apt-get download -q "$package" >/dev/null 2>&1) ||
        die "$package could not be fetched" "Check that apt can reach a mirror, then run it again."
    dpkg -x "$folder/$package"_*.deb "$into"
    rm -rf -- "$folder"
}

# A registry that images of stories travel through.
REGISTRY=$RUN_DIR/registry/usr/bin/docker-registry

ensure_registry() {
    ensure_unpacked docker-registry "$RUN_DIR/registry" usr/bin/docker-registry \
        "Put a \`docker-registry\` of your own (distribution 2.8) at $REGISTRY."
}

# gVisor, for the machine of a story whose containers have a kernel of their own.
GVISOR=$RUN_DIR/gvisor/runsc

ensure_gvisor() {
    if [ -x "$GVISOR" ]; then return; fi
    ensure_unpacked runsc "$RUN_DIR/gvisor" usr/bin/runsc "Put a \`runsc\` of your own at $GVISOR."
    # One of before August 2024 takes a network namespace with the file `rmem_default` for the machine's own and
    # refuses to work there. Since Linux 6.11 they all have it (google/gvisor#10704): the copy looks for another.
    sed 's#/proc/sys/net/core/rmem_default#/proc/sys/net/core/rmem_nowhere#g' \
        "$RUN_DIR/gvisor/usr/bin/runsc" >"$GVISOR"
    chmod 755 "$GVISOR"
}

# An authority for certificates, and the name server that it asks.
PEBBLE=$RUN_DIR/pebble/usr/bin/pebble

ensure_pebble() {
    ensure_unpacked pebble "$RUN_DIR/pebble" usr/bin/pebble \
        "Put a \`pebble\` of your own (2.4), and \`pebble-challtestsrv\` beside it, at $PEBBLE."
}

# The Python of tests and benchmarks: the unmodified SDK and audit of the reference, the client that
# agents use (the SDK brings one of any version), and what asks an API whether its document is true.
VENV=$RUN_DIR/venv
PYTHON_PACKAGES=(ctfy==0.6.3 mcp==2.3.0 schemathesis==4.32.5)
# The wait between two tries to fetch them.
RETRY_SECONDS=5

# Makes it, once; for whoever runs `$VENV/bin/python` or what lies beside it.
ensure_sdk() {
    if [ "$(cat "$VENV/.installed" 2>/dev/null)" = "${PYTHON_PACKAGES[*]}" ]; then return; fi
    say "Installing ${PYTHON_PACKAGES[*]} into $VENV."
    python3 -m venv "$VENV"
    local attempt
    for attempt in 1 2 3; do
        if "$VENV/bin/pip" install --quiet "${PYTHON_PACKAGES[@]}"; then
            printf '%s' "${PYTHON_PACKAGES[*]}" >"$VENV/.installed"
            return
        fi
        sleep $((attempt * RETRY_SECONDS))
    done
    die "${PYTHON_PACKAGES[*]} could not be installed" "Check that pip can reach a package index, then run it again."
}
