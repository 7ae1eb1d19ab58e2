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
setup: ## the Python environment and the helper, in .venv and src/nixbk/_helper
	@dev/setup

.PHONY: demo
demo: setup ## lock, plan, apply and run an example with real Nix and real BuildKit
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
test-derivations: setup ## what derivations can say, each built by Nix and by nixbk, and compared
	@dev/test --derivations $(ENGINES)

.PHONY: test-caches
test-caches: setup ## binary caches and shared ones, and all that can go wrong
	@dev/test --caches $(ENGINES)

.PHONY: test-all
test-all: check ## the same and the slow ones, on every engine
	@dev/test --all docker-28 docker-26 docker-26-classic buildkitd

.PHONY: bench
bench: setup ## performance, as ratios measured side by side
	@.venv/bin/python -m benchmarks.run
