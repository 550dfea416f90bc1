# Errands. Each works alone on a fresh clone; on a bare Debian 12 it takes python3, git and make.

PYTHON ?= python3
export PYTHON

.PHONY: help setup demo test test-plugins-alone fuzz answers lint format lock clean

help:
	@echo 'make setup   what everything else needs: .venv, and Debian packages that are missing'
	@echo 'make demo    the story with a real Postfix; KEEP=1 leaves it running'
	@echo 'make test    lint, all tests, and each plugin alone'
	@echo 'make fuzz    inputs that nobody thought of, for FUZZ_SECONDS (1800); then a million recipients'
	@echo 'make answers docs/answers.md anew from the table of the tests'
	@echo 'make lint    ruff, mypy and the rooms; make format mends what ruff can'
	@echo 'make lock    requirements.lock anew from the pyproject.toml files'
	@echo 'make clean   removes what these made'

setup:
	@scripts/install-missing
	@$(MAKE) --no-print-directory --silent .venv/.complete

# A stamp, and written last: a .venv that was left half made is not taken for a whole one.
.venv/.complete: requirements.lock pyproject.toml $(wildcard plugins/*/pyproject.toml) scripts/make-venv
	@scripts/make-venv

demo: setup
	@.venv/bin/python -m examples.demo

test: lint
	.venv/bin/pytest
	scripts/test-plugins-alone

test-plugins-alone: setup
	scripts/test-plugins-alone

fuzz: setup
	@.venv/bin/python -m tests.fuzz.run
	@.venv/bin/python -m tests.fuzz.agreement 1000000

answers: setup
	@.venv/bin/python -m tests.matrix.page

lint: setup
	@scripts/lint

format: setup
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

lock:
	@scripts/lock

clean:
	rm -rf .venv build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
