PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# one more than cores, since tests wait for servers and disks
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
ARGS ?=

DEMO_DB := sqlite:///demo.sqlite3
# another key at each call, because the database stays
DEMO_KEY := census-$(shell date +%H%M%S)-$(shell echo $$$$)

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench reliability docs clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter of $(VENV); ARGS='-k name' goes to pytest."

demo: $(VENV)/.installed ## run two example flows, then list and show one
	@$(BIN)/python -m compileall -q mc specs
	$(BIN)/houston run specs/stdlib_census.json --handlers specs.stdlib_census --db $(DEMO_DB) --key $(DEMO_KEY)
	$(BIN)/houston run specs/nightly_report.json --handlers specs.nightly_report --allow shell --db $(DEMO_DB) --key $(DEMO_KEY)-nightly
	$(BIN)/houston list --db $(DEMO_DB)
	$(BIN)/houston show $(DEMO_KEY) --db $(DEMO_DB)

test: $(VENV)/.installed-dev ## run the tests, and of long trials a sample
	@$(BIN)/python -m compileall -q mc specs
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: $(VENV)/.installed-dev ## check style, layout and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict mc

format: $(VENV)/.installed-dev ## lay the code out and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev ## measure, and print a table
	@$(BIN)/python -m compileall -q mc specs
	$(BIN)/python -m pytest tests/benchmarks -p no:randomly -p no:xdist $(ARGS)

reliability: $(VENV)/.installed-dev ## run the long trials whole; their figures go into docs/reliability.md
	@$(BIN)/python -m compileall -q mc specs
	MC_WRITE_RELIABILITY=1 $(BIN)/python -m pytest --trials=all -m reliability -n $(WORKERS) --dist worksteal $(ARGS)

docs: $(VENV)/.installed-dev ## build the documentation in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	rm -rf demo.sqlite3.data nightly
	rm -f demo.sqlite3 demo.sqlite3-wal demo.sqlite3-shm census.md
	find mc specs tests -name __pycache__ -type d -exec rm -rf {} +

# Stamps, so that pip runs again only when what it reads has changed.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "MissionControl needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
	  echo "Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(VENV)/.installed $@
