# The commands. They are plain cargo; nothing else needs to be installed than README.md says, except for `fuzz`.
.PHONY: run web test lint bench fuzz

# Any of them does for the pages (web/e2e/support/stage.ts).
BROWSERS = chromium chromium-browser google-chrome

# How long each parser is tried by `make fuzz`.
FUZZ_SECONDS ?= 30

# A server with demo people and data, on http://127.0.0.1:3000. The pages are built first where they have changed.
run: web
	cargo run -- dev

web: web/dist/index.html

web/dist/index.html: web/package-lock.json $(wildcard web/sdk/*.* web/sdk/src/*.ts web/sdk/src/*/*.ts web/apps/*.* web/apps/*/*.*)
	cd web && npm ci --no-audit --no-fund && npm run build
	@touch $@

# Everything that is checked. What is left out is said before the tests, so that the last lines are the tests' own.
test: web lint
	@echo "=================================================================="
	@echo "LEFT OUT: PostgreSQL, because this version has SQLite only."
	@echo "LEFT OUT: Redis, because this version is one process."
	@for program in strace kosoku nginx haproxy caddy promtool; do \
		command -v $$program >/dev/null || echo "LEFT OUT: $$program is not there, and what is tried with it; .ci/run installs it."; \
	done
	@for browser in $(BROWSERS); do command -v $$browser >/dev/null && exit 0; done; \
		echo "LEFT OUT: the pages in a browser, because none of $(BROWSERS) is there; .ci/run installs it."
	@echo "=================================================================="
	cargo build --bin roomcast
	cd web && npm test && npm run e2e
	cargo test --doc
	cargo test --features otel --test it traces::
	cargo test --lib --bins --tests --no-fail-fast

# Form, warnings of the compiler and of clippy, and the links in the documentation.
lint:
	cargo fmt --check
	cargo clippy --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# The fan-out: one event to many connections.
bench:
	cargo bench

# Bytes that look for a fault in what parses them, with libFuzzer (`cargo install cargo-fuzz`). What is found for the
# corpus stays out of the repository; what breaks something is shown, and kept in fuzz/artifacts.
fuzz:
	@for target in fuzz/fuzz_targets/*.rs; do \
		name=$$(basename $$target .rs); mkdir -p fuzz/found/$$name; \
		RUSTC_BOOTSTRAP=1 cargo fuzz run -s none $$name fuzz/found/$$name fuzz/corpus/$$name -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -verbosity=0 -print_final_stats=1 || exit 1; \
	done
