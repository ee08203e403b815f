# Each target sets up .venv first, from requirements.lock, if it is not there or older than the lock.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
RECIPE ?= movie_sentiment
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help run test test-long lint types contracts bench page run-picture ui lock clean
.DEFAULT_GOAL := help

help:
	@echo 'make run     all stages of movie_sentiment (or RECIPE=name), from rows to bundle'
	@echo 'make test    lint, types, import contracts and every test but the longest'
	@echo 'make test-long   the tests that take minutes each: the closed loop, servers that are away, a killed worker'
	@echo 'make lint    ruff: faults and format'
	@echo 'make bench   the benchmarks, into benchmarks/results.md; REFERENCE=path names a checkout of nanoGPT'
	@echo 'make page    docs/page.png, from the served bundle of movie_sentiment and a Chromium'
	@echo 'make run-picture   docs/run.svg, the end of the last run here that trained movie_sentiment (or RECIPE=name)'
	@echo 'make ui      the web pages of MLflow and Prefect, on this machine'
	@echo 'make lock    resolve requirements.lock again from pyproject.toml'
	@echo 'make clean   remove .venv and the caches of the tools; artifacts and runs stay'

# The project itself is installed as a link to this folder.
$(STAMP): requirements.lock pyproject.toml
	@test -n '$(PYTHON)' || { echo 'Python 3.11 is needed, and there is no python3 at all: install python3.11' >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
		echo "Python 3.11 is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1). Install python3.11, or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make environments; on Debian and Ubuntu: apt install python3.11-venv" >&2; exit 2; }
	@echo 'Setting up .venv (2 to 3 minutes, about 2.5 GB)' >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -e .
	@touch $@

run: $(STAMP)
	@$(BIN)/modelyard run $(RECIPE)

# Tests run side by side, a file at a time, each on one thread; they often wait for servers, so one more than two cores.
test: lint types contracts
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not long' -n 3 --dist loadfile --no-loadscope-reorder

test-long: $(STAMP)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long -n 3 --dist loadfile

lint: $(STAMP)
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .

types: $(STAMP)
	@$(BIN)/basedpyright

contracts: $(STAMP)
	@$(BIN)/lint-imports

# BENCH='--only loop ingest' for some of them, BENCH=--long for more rounds; 'python benchmarks --help' tells all.
bench: $(STAMP)
	@$(BIN)/python benchmarks $(if $(REFERENCE),--reference '$(REFERENCE)') $(BENCH)

page: $(STAMP)
	@$(BIN)/python -m tests.screenshot

run-picture: $(STAMP)
	@$(BIN)/python -m tests.picture_of_run $(RECIPE)

ui: $(STAMP)
	@$(BIN)/modelyard ui

# uv resolves in seconds what takes pip very long; it is needed for nothing else, so it gets an environment of its own.
lock:
	@rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install -qq --disable-pip-version-check uv
	@.venv-lock/bin/uv pip compile -q --python-version 3.11 --extra dev --extra postgres --no-annotate --no-header --no-emit-index-url \
		--output-file .venv-lock/resolved pyproject.toml
	@{ echo "# The one resolved set of versions, made by 'make lock' from pyproject.toml. torch's wheel pins its own CUDA libraries."; \
		sed '/^nvidia-ml-py=/b; /^cuda-/d; /^triton/d; /^nvidia-/d' .venv-lock/resolved; } > .venv-lock/requirements.lock
	@mv .venv-lock/requirements.lock requirements.lock && rm -rf .venv-lock

clean:
	@rm -rf .venv .venv-lock .pytest_cache .ruff_cache .import_linter_cache build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
