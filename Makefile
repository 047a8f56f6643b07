# The everyday commands. CI calls the same ones.

DEMO := topologies/debian

.PHONY: help setup build demo test simulate matrix lint deny bench wheel docs fuzz clean

help: ## shows this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## installs what is missing on a fresh Debian (libzmq3-dev, gcc, python3)
	@scripts/setup

build: setup ## builds everything, for speed
	cargo build --release --workspace

demo: build ## runs the demo on three servers on this machine, and verifies its answer
	target/release/waldo up $(DEMO) --until-idle --fresh
	$(DEMO)/verify
	$(DEMO)/report

test: setup ## runs all tests
	if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run --workspace && cargo test --workspace --doc; \
	else cargo test --workspace; fi
	@missing=$$(tests/hosts/machines.sh missing | paste -sd ' '); [ -z "$$missing" ] || \
	echo "test: servers under systemd were NOT tested, as hosts for that need: $$missing (as root: scripts/setup)" >&2

SIMULATE_SEEDS := 1000000

simulate: setup ## runs SIMULATE_SEEDS seeds of the rollout simulator (make test runs 10,000)
	SEEDS=$(SIMULATE_SEEDS) cargo test --release -p waldo-runtime --test rollout_sim -- --nocapture

matrix: setup ## hits every process that takes part in a rollout, in every phase, in three ways; a part of it: CELLS='hold stage'
	cargo test --test rollout_faults -- --ignored --nocapture --test-threads 1

lint: setup ## checks format and style
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then $(MAKE) --no-print-directory deny; \
	else echo "lint: cargo-deny is NOT installed, so licences and advisories were NOT checked (cargo install cargo-deny)" >&2; fi

deny: ## checks the dependencies' licences, advisories and sources (needs cargo-deny)
	cargo deny check

bench: setup ## measures, prints a table, writes target/bench.json
	cargo run --release -p waldo-benches

# A third of the time for parsing, the rest for all that follows. What is found anew is kept in target/fuzz.
FUZZ_SECONDS := 600
FUZZ_SEEDS := $(CURDIR)/fuzz/corpus $(CURDIR)/tests/compile-fail $(CURDIR)/topologies $(CURDIR)/compiler/tests
FUZZ = mkdir -p target/fuzz/$(1) && cargo +nightly fuzz run $(1) target/fuzz/$(1) $(FUZZ_SEEDS) -- -dict=fuzz/waldo.dict -max_len=8192 \
	-timeout=10 -rss_limit_mb=1000 -max_total_time=$$(($(FUZZ_SECONDS) * $(2) / 3))

fuzz: setup ## feeds hostile topologies to the compiler for FUZZ_SECONDS (needs cargo-fuzz and nightly Rust)
	@cargo fuzz --version >/dev/null 2>&1 || { echo "fuzz: cargo-fuzz is missing (cargo install cargo-fuzz)" >&2; exit 1; }
	$(call FUZZ,parse,1)
	$(call FUZZ,compile,2)

wheel: setup ## builds the Python package as a wheel, in target/wheels
	python3 -m venv target/venv
	target/venv/bin/pip install --quiet 'maturin>=1.7,<2'
	target/venv/bin/maturin build --release --manifest-path sdk/python/Cargo.toml --out target/wheels

docs: setup ## builds the API documentation
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

clean: ## removes what was built and what runs of the topologies left
	cargo clean
	rm -rf topologies/*/.waldo topologies/*/__pycache__
