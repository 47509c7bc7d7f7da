# Everything a developer does here, by one word. `make` alone lists the words.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROVOKED := .venv-provoked
PEERS := .venv-peers

.DEFAULT_GOAL := help
.PHONY: help demo test ground soak provoked check fmt bench docs clean

help:  ## list these words
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . --group dev 2>/dev/null \
	  || { $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip \
	       && $(BIN)/python -m pip install --quiet --disable-pip-version-check -e . --group dev; }
	@touch $@

demo: $(STAMP)  ## the main job: 12 training runs, six faults, the morning screen
	@$(BIN)/overnight demo

test: $(STAMP)  ## all tests (under 4 minutes on two cores)
	$(BIN)/python -m pytest -q -n 4 --dist loadgroup

$(PROVOKED)/.installed: pyproject.toml tests/provoked/requirements.txt
	@test -x $(PROVOKED)/bin/pip || $(PYTHON) -m venv $(PROVOKED)
	@$(PROVOKED)/bin/python -m pip install --quiet --disable-pip-version-check -e . -r tests/provoked/requirements.txt \
	  || { echo "error: $(PROVOKED) lacks what is named above; nothing was provoked" >&2; \
	       echo "hint: tests/provoked/requirements.txt says what is needed; torch's CPU build is enough" >&2; exit 1; }
	@touch $@

provoked: $(PROVOKED)/.installed  ## real failures with real software: torch, Hydra, the hub (2 minutes; own venv, 1 GB)
	$(PROVOKED)/bin/python -m pytest -c tests/provoked/pytest.ini -q tests/provoked

ground: $(STAMP)  ## faults of the ground, staged: disks that fill, hang, go read-only (root, FUSE, a loop device; 3 minutes)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group ground
	@$(BIN)/python tests/ground/needs.py
	$(BIN)/python -m pytest -c tests/ground/pytest.ini -q tests/ground

soak: $(STAMP)  ## the simulated nights and the random events again, 20,000 seeds (SEEDS=N for another number)
	OVERNIGHT_SEEDS=$(or $(SEEDS),20000) $(BIN)/python -m pytest -q -n 4 tests/simulation/test_nights.py \
	  tests/simulation/test_nights_in_common.py tests/property/test_run_machine.py

check: $(STAMP)  ## what a reviewer would ask: format, lint, strict types, rooms, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory test

fmt: $(STAMP)  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)  ## write the generated reference pages anew
	$(BIN)/python -m overnight.core.document > docs/reference/states.md
	$(BIN)/python -m overnight.failures.document > docs/reference/failure-classes.md
	$(BIN)/python -m overnight.cli.document > docs/reference/cli.md

$(PEERS)/.installed: Makefile
	@test -x $(PEERS)/bin/pip || $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check "ray>=2.9" "snakemake>=8"
	@touch $@

bench: $(STAMP) $(PEERS)/.installed  ## benchmarks, as ratios in one run (needs GNU parallel for one peer)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	$(BIN)/python benchmarks/run.py

clean:  ## remove what was built here
	rm -rf $(VENV) $(PROVOKED) $(PEERS) build dist .mypy_cache .ruff_cache .hypothesis
