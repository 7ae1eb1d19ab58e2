# Every target does its own set-up; what is fetched is kept in the user's cache folder.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

UV_RUN = .venv/bin/
ENGINES ?= docker buildkit

.PHONY: help
help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## the Python environment, in .venv, and the helper
	@dev/setup

.PHONY: demo
demo: setup ## lock, plan, apply and run an example with real engines
	@dev/demo

.PHONY: check
check: setup ## linters, types, layering, generated files
	$(UV_RUN)ruff check .
	$(UV_RUN)ruff format --check .
	$(UV_RUN)mypy
	$(UV_RUN)lint-imports
	.venv/bin/python dev/protos --check
	.venv/bin/python dev/schemas --check
	.venv/bin/python dev/clidocs --check
	cd helper && go vet ./... && go test ./...

.PHONY: test
test: check ## checks and tests, on one Docker and on buildkitd
	@dev/test $(ENGINES)

.PHONY: test-derivations
test-derivations: setup ## every feature of derivations, beside real Nix
	@dev/test --derivations $(ENGINES)

.PHONY: test-caches
test-caches: setup ## binary caches, shared ones, and what can go wrong
	@dev/test --caches $(ENGINES)

.PHONY: test-slow
test-slow: setup ## what takes minutes for a test
	@dev/test --slow $(ENGINES)

.PHONY: test-old
test-old: setup ## all that is run on engines, on older ones
	@dev/test --on docker-26 docker-26-classic

.PHONY: test-all
test-all: test test-derivations test-caches test-slow test-old ## all of them

.PHONY: bench
bench: setup ## performance, as ratios measured side by side
	@.venv/bin/python -m benchmarks.run
