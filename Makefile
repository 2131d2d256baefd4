# Each target does all its own set-up and may be run again at any time.
.DEFAULT_GOAL := help
.PHONY: run test bench lint chaos help

run:    ## start flagops with the example challenges (Ctrl-C to stop)
	@scripts/run

test:   ## run the whole test suite
	@scripts/test

bench:  ## measure against the bare Docker calls
	@scripts/bench

lint:   ## format, clippy, docs, dependencies, shell scripts
	@scripts/ci-lints

chaos:  ## break everything around the daemon for an hour, print what was survived
	@scripts/chaos

help:   ## show this
	@awk -F ' *## *' '/^[a-z]+: *##/ { sub(":", "", $$1); printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
