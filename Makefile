# make demo    trains a network on Python's documentation and samples from it (three minutes)
# make test    lint, types, import contract, tests
# Needs Python 3.11 or newer and make; everything else goes into .venv.

PYTHON ?= python3
# Commands run from .venv first, so that what is printed is what you would type in it.
SHELL = env PATH="$(CURDIR)/.venv/bin:$(PATH)" /bin/sh

.PHONY: demo test test-long bench lint clean

demo: .venv/minidark data.txt
	minidark train cfg/rnn.cfg data.txt
	minidark generate cfg/rnn.cfg backup/rnn_final.weights

test: lint
	pytest

test-long: .venv/dev
	pytest -m long

lint: .venv/dev
	ruff check
	ruff format --check
	mypy
	lint-imports

bench: .venv/dev
	pip install --quiet ".[peers]"
	python benchmarks/vs_torch.py

data.txt:
	python -c "import pydoc_data.topics as t; print('\n\n'.join(t.topics[k] for k in sorted(t.topics)))" > $@

.venv/minidark: pyproject.toml
	$(PYTHON) -m venv .venv
	pip install --quiet --editable .
	touch $@

.venv/dev: .venv/minidark
	pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv backup data.txt build dist
