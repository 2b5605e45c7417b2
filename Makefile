# make test     everything a change must pass; needs root and a Debian-like machine, installs what is missing
# make demo     real containers through curl, docker, pinnace and a websocket, and a daemon killed in between
# make bench    side by side with the kernel's floor and the other engines that are installed
# make install  PREFIX=/usr/local DESTDIR=

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
STATIC := -C target-feature=+crt-static -C relocation-model=static -C strip=symbols
export SQLX_OFFLINE = true

.PHONY: build stage fmt clippy test demo bench install deps

build:
	$(CARGO) build --release -p pinnaced -p pinnace-client
	$(CARGO) rustc --release -p pinnace-helper --bin pinnace-helper -- $(STATIC)

# The binaries that the end-to-end tests start: unoptimised, so that `make test` compiles the workspace once. They are
# copied, because later cargo commands link the helper again without -static.
stage:
	$(CARGO) build --workspace --bins
	$(CARGO) rustc -p pinnace-helper --bin pinnace-helper -- $(STATIC)
	install -D -t target/staged target/debug/pinnaced target/debug/pinnace target/debug/pinnace-helper

deps:
	.ci/install-deps

fmt:
	$(CARGO) fmt --check

clippy:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

test: deps fmt clippy
	.ci/test

demo: deps build
	docs/demo.sh

bench: deps build
	.ci/bench

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 0755 target/release/pinnaced target/release/pinnace target/release/pinnace-helper $(DESTDIR)$(PREFIX)/bin
	sed 's|@bindir@|$(PREFIX)/bin|' packaging/pinnaced.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/pinnaced.service
