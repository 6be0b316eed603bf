# `make demo` and `make test` do everything from a fresh clone; they need Python 3.11 or later and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# pip would do it on one core.  Some packages bring files that are no Python of today.
COMPILE := $(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
MANAGE := $(BIN)/python manage.py
VAR := $(or $(DFD_VAR),var)
export VIDEOS DEMO_EXIT
# Or each of the many processes that a demo and the tests start would compile the program anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup prepare demo test quick chaos bench lint format types contracts check clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  e.g. make demo VIDEOS="a.mp4 b.mov"   DEMO_EXIT=1 ends it after the table   DFD_PORT=8080   DFD_VAR=/elsewhere'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# The stamps are newer than what they were made from, or pip runs again.
$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the program needs (torch is large: some minutes the first time) ..."
	@$(PIP) install --quiet --no-compile --editable . --constraint constraints.txt
	@$(COMPILE)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the program and its tests need (torch is large: some minutes the first time) ..."
	@$(PIP) install --quiet --no-compile --editable '.[dev]' --constraint constraints.txt
	@$(COMPILE)
	@touch $(VENV)/.runtime $@

# Compressing them takes seconds, so they are collected only when they have changed.
$(VAR)/static/staticfiles.json: $(VENV)/.runtime $(shell find detection/static -type f)
	@$(MANAGE) collectstatic --noinput --verbosity 0
	@touch $@

prepare: $(VENV)/.runtime $(VAR)/static/staticfiles.json
	@$(MANAGE) migrate --verbosity 0
	@DFD_LOG_LEVEL=ERROR $(MANAGE) register_model --activate --if-none

setup: prepare ## Make the venv, the database and the static files, and register the weights that come with it
	@echo "Ready: $(MANAGE) up"

demo: prepare ## Start everything, analyse the demo clips (or VIDEOS="...") over REST, serve until Ctrl-C
	@$(BIN)/python -m demo.run

PROCESSES ?= 3
PYTEST = $(BIN)/python -m pytest -n $(PROCESSES)
test: $(VENV)/.dev ## Run all tests, in three processes (PROCESSES=...)
	$(PYTEST) $(PYTEST_ARGS)

quick: PROCESSES = 2
quick: $(VENV)/.dev ## Run the tests that are neither slow nor start the product: about two minutes
	$(PYTEST) -m "not slow and not e2e and not chaos" $(PYTEST_ARGS)

CHAOS_ARGS ?=
chaos: $(VENV)/.dev ## Hundreds of uploads while workers, broker, web and database are killed; says what was lost
	@$(BIN)/python -m tests.chaos.storm $(CHAOS_ARGS)

BENCH ?= demo/clips
BENCH_JSON ?= $(VAR)/bench.json
bench: prepare ## Time naive, product and floor on BENCH (videos or folders); compared with the last time, by ratios
	@if [ -f $(BENCH_JSON) ]; then cp $(BENCH_JSON) $(BENCH_JSON).before; fi
	@$(MANAGE) benchmark $(BENCH) --json $(if $(wildcard $(BENCH_JSON)),--compare $(BENCH_JSON).before) > $(BENCH_JSON).new \
	  && mv $(BENCH_JSON).new $(BENCH_JSON) && cat $(BENCH_JSON)

lint: $(VENV)/.dev ## Style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive detection dfdsite ml worker demo manage.py

format: $(VENV)/.dev ## Let the tools repair the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev ## Check the types
	$(BIN)/mypy

contracts: $(VENV)/.dev ## Check who imports whom
	$(BIN)/lint-imports --no-cache

check: lint types contracts test ## All of lint, types, contracts and test

clean: ## Remove the venv and the tools' caches; var/ (database, videos, models) stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +
