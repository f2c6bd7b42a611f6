# make run    install and run the quick suite; prints where the leaderboard is
# make test   install and run the tests (PYTEST_ARGS="-m slow" for the slow ones, PARALLEL= for one process)
# make bench  the timed claims
# make lint   ruff, mypy and the import rules
# make test-lowest  part of the tests with the oldest versions that pyproject.toml allows (LOWEST= names the tests)

PYTHON ?= python3
VENV ?= .venv
SUITE ?= quick
BIN := $(VENV)/bin
LOWEST_VENV ?= .venv-lowest
LOWEST ?= tests/statistics tests/benchmark tests/judge tests/leaderboards tests/learning tests/features tests/methods/dp_cvae
# Tests of one file share what is expensive to make, so a file stays with one process.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist loadfile

.PHONY: run test test-lowest bench lint clean

run: $(VENV)/.installed
	$(BIN)/python -m benchmark run --suite $(SUITE)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

test-lowest: $(LOWEST_VENV)/.installed
	$(LOWEST_VENV)/bin/python -m pytest $(PARALLEL) $(LOWEST) $(PYTEST_ARGS)

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

# The lowest versions have wheels for the oldest Python: give PYTHON=python3.11. pip cannot resolve downwards, uv can.
$(LOWEST_VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_VENV)/bin/python -m pip install --quiet uv
	$(LOWEST_VENV)/bin/uv pip install --quiet --python $(LOWEST_VENV)/bin/python --resolution lowest-direct --editable '.[test,faiss,medmnist,pydicom,ray]'
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST_VENV) runs
