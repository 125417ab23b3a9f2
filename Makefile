# `make demo` and `make test` are all that is needed; `make help` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# The first Python that is new enough.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format config lock clean

help:            ## this list
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## .venv with everything pinned in requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(if $(PYTHON),$(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "eele needs Python 3.11 or newer, not '$(PYTHON)'. Name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo "python3 -m venv failed; on Debian and Ubuntu it is in the package python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@echo "Installing the pinned packages into $(VENV) (once; a few minutes) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: $(STAMP)   ## the whole study on a generated corpus, on all cores (10 to 15 min on two)
	@if [ -t 2 ]; then progress="--logger rich"; else progress="--quiet rules host"; fi; \
	$(BIN)/snakemake $$progress && echo "The page: $(CURDIR)/results/demo/report/index.html"

# A worker per core, up to four, whole files each: their fixtures are studies. One thread a worker.
test: $(STAMP)   ## all tests, the smoke study through the real Snakefile among them
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)   ## ruff, mypy, snakefmt, snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

format: $(STAMP) ## bring code and rules into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

config: $(STAMP) ## regenerate config/config.yaml and config/schema.json from the models
	$(BIN)/python -m eele.config.document

lock: $(STAMP)   ## rewrite requirements.lock and envs/eele.yaml from what is installed
	$(BIN)/python envs/lock.py

clean:           ## remove the demo's results and all caches; .venv and other studies stay
	rm -rf results/demo results/smoke .pytest_cache .mypy_cache .ruff_cache build
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
