# The few commands of this project. `make` alone lists them.
#
# Rust, a C compiler and the cargo tools are installed where they are missing (Debian's packages by apt-get, Rust by
# rustup, the tools by cargo into TOOLS, outside this folder). What is there already is left alone.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Versions are pinned so that a new release of a tool changes nothing here by itself.
DENY_VERSION := 0.20.2
MACHETE_VERSION := 0.9.2
INSTA_VERSION := 1.49.0

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
TOOLS ?= $(CACHE)/seenby-ci/tools
PEERS ?= $(CACHE)/seenby-ci/peers
export PATH := $(TOOLS)/bin:$(HOME)/.cargo/bin:$(PATH)

RUST_NEEDED := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

# A tool of cargo in one version, built only where it is not there yet: $(call tool,name,version).
tool = $(1) --version 2>/dev/null | grep -qwF $(2) \
	|| env -u CARGO_TARGET_DIR cargo install $(1) --version $(2) --locked --root "$(TOOLS)"

.PHONY: help demo check test test-clients test-shippers test-az kills bench fuzz bless setup system rust tools fmt lint unit docs deny machete demo-run

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' Makefile

demo: system rust ## build, then the whole product on a simulated fleet; Ctrl-C ends it
	cargo run --release --locked -p seenby -- demo

check: fmt lint unit ## format, lints and tests; no downloads but crates

test: setup check test-clients test-shippers docs deny machete fuzz demo-run ## install what is missing, then everything that CI runs
	@echo "make test: all passed"

test-clients: ## real clients and an OpenID provider with a server, its documents held against it (says so where out of reach)
	crates/seenby/tests/clients/run

test-shippers: ## real shippers, sensors, brokers and buckets with a server (says so where out of reach)
	crates/seenby/tests/shippers/run

test-az: ## the Azure CLI with a server; downloads 100 MB and unpacks 730, so it is no part of `make test`
	crates/seenby/tests/clients/run azure-cli

# The words are in the names of these tests alone.
kills: KILLS ?= 200
kills: RECORDS ?= 1000000
kills: export SEENBY_KILLS = $(KILLS)
kills: export SEENBY_RECORDS = $(RECORDS)
kills: ## kill servers and their peers at random moments, for an hour or two (KILLS=20 RECORDS=100000: for a few minutes)
	cargo test --locked --workspace --test program -- killed_at --nocapture
	crates/seenby/tests/shippers/run "at random"

bench: ## measure this machine (QUICK=1: in a few minutes; ONLY=token,load: those parts alone)
	cargo build --release --locked -p seenby
	PEERS="$(PEERS)" bench/peers/install
	PEERS="$(PEERS)" cargo run --release --locked -p seenby-bench

# Two at a time on two cores: a target has a core to itself. `SECONDS` is a word of the shell, so it is handed on under another name.
fuzz: SECONDS ?= 20
fuzz: ## feed every parser damaged input, 20 s each (SECONDS=600: for longer; ONLY=netflow: those alone)
	SECONDS_EACH="$(SECONDS)" ONLY="$(ONLY)" fuzz/run

bless: ## rewrite expected test output; read the difference before you commit it
	BLESS=1 cargo test --locked -p seenby-formats --test testdata
	$(call tool,cargo-insta,$(INSTA_VERSION))
	cargo insta test --accept -p seenby-api

setup: system rust tools ## install what is missing

system:
	@command -v cc >/dev/null && command -v c++ >/dev/null && command -v curl >/dev/null && command -v openssl >/dev/null \
	  && perl -MIPC::Cmd -MFindBin -MFile::Compare -e1 2>/dev/null || { \
	  command -v apt-get >/dev/null || { echo "install a C and C++ compiler, perl, curl and openssl, then run this again" >&2; exit 1; }; \
	  $(SUDO) apt-get update -q; \
	  $(SUDO) apt-get install -y -q --no-install-recommends gcc g++ libc6-dev perl curl openssl ca-certificates; }

rust:
	@command -v cargo >/dev/null || curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs \
	  | sh -s -- -y --no-modify-path --profile minimal -c clippy -c rustfmt
	@have=$$(rustc --version | cut -d' ' -f2); \
	[ "$$(printf '%s\n' "$(RUST_NEEDED)" "$$have" | sort -V | head -n 1)" = "$(RUST_NEEDED)" ] \
	  || { echo "Rust $(RUST_NEEDED) or newer is needed, this is $$have: run 'rustup update'" >&2; exit 1; }

tools:
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(call tool,cargo-deny,$(DENY_VERSION))
	@$(call tool,cargo-machete,$(MACHETE_VERSION))

fmt:
	cargo fmt --all -- --check

lint:
	cargo clippy --locked --workspace --all-targets -- -D warnings

unit:
	cargo test --locked --workspace

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items

# Advisories need a database from github.com. Where that is out of reach the rest is checked, and it is said.
deny:
	@if timeout 120 cargo deny --locked fetch db >/dev/null 2>&1; then \
	  cargo deny --locked check; \
	else \
	  cargo deny --locked check licenses bans sources; \
	  echo "SKIPPED: advisories were not checked; their database (github.com/RustSec/advisory-db) is out of reach"; \
	fi

machete:
	cargo machete

demo-run:
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	cargo run --locked --bin seenby -- demo --exit --data-dir "$$folder/demo"
