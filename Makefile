# make run    install and run the quick suite; prints where the leaderboard is
# make test   install and run the tests (PYTEST_ARGS="-m slow" for the slow ones, PARALLEL= for one process)
# make bench  the timed claims
# make lint   ruff, mypy and the import rules

PYTHON ?= python3
VENV ?= .venv
SUITE ?= quick
BIN := $(VENV)/bin
# Tests of one file share what is expensive to make, so a file stays with one process.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: run test bench lint clean

run: $(VENV)/.installed
	$(BIN)/python -m benchmark run --suite $(SUITE)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

bench: $(VENV)/.installed-test
	$(BIN)/python -m pytest tests/benchmarks --benchmark-only -m 'slow or not slow' $(PYTEST_ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Leakboard needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Try: make run PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) runs
