# The four commands. They are plain cargo; nothing else needs to be installed than README.md says.
.PHONY: run web test lint bench

# A server with demo people and data, on http://127.0.0.1:3000. The web applications are built first where there are any.
run: web
	cargo run -- dev

web:
	@if [ -f web/package.json ]; then cd web && npm ci --no-audit --no-fund && npm run build; fi

# Everything that is checked. What is left out is said before the tests, so that the last lines are the tests' own.
test: lint
	@echo "=================================================================="
	@echo "LEFT OUT: PostgreSQL, because this version has SQLite only."
	@echo "LEFT OUT: Redis, because this version is one process."
	@command -v promtool >/dev/null || echo "LEFT OUT: promtool (Debian: prometheus) is not there; metrics and alerts are not checked with it."
	@echo "LEFT OUT: browsers, because this version has no web pages."
	@echo "=================================================================="
	cargo test --doc
	cargo test --lib --bins --tests --no-fail-fast

# Form, warnings of the compiler and of clippy, and the links in the documentation.
lint:
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# The fan-out: one event to many connections.
bench:
	cargo bench
