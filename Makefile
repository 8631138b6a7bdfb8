# Everything runs in .venv, which is made on first use from requirements.lock. Arguments go through ARGS:
#   make demo ARGS=--keep        make test ARGS="tests/domain -x"

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
TEST_PROCESSES ?= 2

# Tests make thousands of small databases and folders and sync them: in memory, where there is room for them.
ROOMY := $(shell df --output=avail,target /dev/shm 2>/dev/null | awk 'NR == 2 && $$1 > 3000000 { print $$2 }')

PYTHONS := python3.11 python3.12 python3.13 python3 python
USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
NO_PYTHON := Segue needs Python 3.11 or newer with its venv module (on Debian and Ubuntu: the package python3-venv). \
	Name one with PYTHON=/path/to/python3.

.PHONY: help
help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY) ## From raw plays to a tuned, promoted, served model (ARGS=--keep leaves it running)
	@$(BIN)/segue demo $(ARGS)

.PHONY: serve
serve: $(READY) ## The API and a worker, on the settings of the environment
	@$(BIN)/segue serve --with-worker $(ARGS)

.PHONY: migrate
migrate: $(READY) ## Bring the database to the present tables
	@$(BIN)/segue migrate $(ARGS)

.PHONY: test
test: export TMPDIR := $(or $(ROOMY),$(TMPDIR),/tmp)
test: $(READY) ## Lint, types, import contracts, migrations and all tests (ARGS go to pytest, which then skips the floors)
ifeq ($(strip $(ARGS)),)
	@$(MAKE) --no-print-directory --jobs=2 warm lint drift
	@rm -f .coverage .coverage.*
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist worksteal --cov --cov-report=term --cov-fail-under=90 --durations=15
	@$(BIN)/coverage report --include='app/domain/*' --fail-under=100 --format=total >/dev/null || { \
		$(BIN)/coverage report --include='app/domain/*'; \
		echo 'app/domain is not covered to 100 %.' >&2; exit 1; }
else
	@$(MAKE) --no-print-directory lint drift
	$(BIN)/python -m pytest $(ARGS)
endif

.PHONY: lint
lint: $(READY) ## Formatting, lint, types and import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: drift
drift: $(READY)
	@echo 'alembic check'
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		export SEGUE_DATABASE_URL="sqlite:///$$folder/segue.db" && \
		$(BIN)/alembic upgrade head && $(BIN)/alembic check

# What is compiled when it is first used, once for all processes that start next: Python, tests and the trainer's kernel.
.PHONY: warm
warm: $(READY)
	@log=$$(mktemp) && trap 'rm -f "$$log"' EXIT && \
		$(BIN)/python -m pytest --collect-only -qq >"$$log" || { cat "$$log" >&2; exit 1; }
	@$(BIN)/python -c 'from app.adapters.lane_word2vec import load_kernel; load_kernel()'

BENCHMARKS := training evaluation article memory linear study serving

.PHONY: bench
bench: $(READY) ## Measure what training, evaluation, studies and serving cost: an hour (ARGS="training serving": only these)
	@for name in $(or $(ARGS),$(BENCHMARKS)); do \
		echo; echo "== $$name"; $(BIN)/python -m tests.benchmarks.$$name; done

.PHONY: quality
quality: $(READY) ## Measure whether Segue's trainer is as good as gensim: hours, most of them gensim's (ARGS go to the benchmark)
	@$(BIN)/python -m tests.benchmarks.quality $(ARGS)

.PHONY: gain
gain: $(READY) ## Measure what tuning gains over gensim's defaults, over several studies (ARGS go to the benchmark)
	@$(BIN)/python -m tests.benchmarks.gain $(ARGS)

.PHONY: lock
lock: $(READY) ## Choose the versions anew that pyproject.toml allows, the ones in the lock first (ARGS=--upgrade for the latest)
	$(BIN)/uv pip compile $(LOCKED) --extra dev --output-file requirements.lock
	$(BIN)/uv pip compile $(LOCKED) --constraint requirements.lock --output-file requirements-runtime.lock
	@! grep -nE '(https?|file)://|index-url|find-links' requirements*.lock

# Extras stay in the lock: with hashes, pip wants `coverage[toml]` pinned as such, or takes the newest and refuses it.
LOCKED = pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-strip-extras --no-annotate --custom-compile-command 'make lock' $(ARGS)

.PHONY: clean
clean: ## Remove the environment and what the tools leave behind
	rm -rf $(VENV) build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find app worker tests migrations -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment: made when absent, brought up to date when the lock or the project changed. Compiled here, on all
# cores, and not when it is first imported: on a full disk Python keeps half a module then, and fails on it ever after.
$(READY): requirements.lock pyproject.toml
	@if [ ! -x $(BIN)/python ] || ! $(BIN)/python -c '$(USABLE)' 2>/dev/null; then \
		for candidate in $(PYTHON) $(PYTHONS); do \
			if "$$candidate" -c '$(USABLE)' >/dev/null 2>&1; then found=$$candidate; break; fi; \
		done; \
		if [ -z "$${found:-}" ]; then echo '$(NO_PYTHON)' >&2; exit 1; fi; \
		echo "Making $(VENV) with $$("$$found" --version)"; \
		rm -rf $(VENV); "$$found" -m venv $(VENV); \
	fi
	@echo 'Installing the locked dependencies'
	@$(BIN)/python -m pip install -qq --no-compile --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib app worker || echo 'What does not compile is left as it is.'
	@touch $@
