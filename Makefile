# Every target installs what it needs first (.ci/setup: Debian's packages as root, the virtual environment always).
.DELETE_ON_ERROR:
.PHONY: venv lint test soak demo fleet-demo bench lock release clean

BIN := .venv/bin
# `make demo REF=alpine:3.20` and `make fleet-demo REF=…` show another image than the sample.
REF ?=
export REF
# Every worker has servers and folders of its own; the mark `host` lets one test at a time touch what all share.
PYTEST := $(BIN)/pytest -n 2 --dist worksteal

venv:
	@bash .ci/setup

lint: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(PYTEST)

# The random tests with their whole counts: thousands of killed pulls, where `make test` takes a sample.
soak: venv
	POLYARCH_SOAK=1 $(BIN)/pytest -m soak

demo: venv
	@bash docs/demo.sh

# Four real devices on this machine; takes root.
fleet-demo: venv
	@bash docs/fleet-demo.sh

# Fails where a limit of benchmarks/limits.toml is passed. All of it takes root; about an hour.
bench: venv
	$(BIN)/python -m benchmarks --json .cache/bench/results.jsonl --picture .cache/bench/performance.svg
	$(BIN)/python -m benchmarks.fleet_plan
	$(BIN)/python -m benchmarks.fleet_pull

# The lock of what all this installs: constraints.txt and `requirements`, with the hashes that pip's index tells. Versions stay;
# `make lock UPDATE='httpx rich'` takes the newest of some, `UPDATE=all` of all.
lock: venv
	$(BIN)/python -m release.lock --update $(UPDATE)

# dist: the wheel, the sdist, their bill of materials and SHA256SUMS, of what is committed; checked, and the same bytes each time.
release: venv
	$(BIN)/python -m release

clean:
	rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist build
