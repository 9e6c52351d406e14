# make demo    trains a network on Python's documentation and samples from it (three minutes)
# make test    lint, types, import contract, tests
# Needs Python 3.11 or newer and make; everything else goes into .venv.

PYTHON ?= python3
BIN = .venv/bin

# Prints a command as one would type it, then runs it with what is in .venv.
run = @echo "$(1)"; PATH="$(CURDIR)/$(BIN):$$PATH" $(1)

.PHONY: demo test test-long lint bench clean

demo: .venv/minidark data.txt
	$(call run,minidark train cfg/rnn.cfg data.txt)
	$(call run,minidark generate cfg/rnn.cfg backup/rnn_final.weights)

test: lint
	$(BIN)/pytest

test-long: .venv/dev
	$(BIN)/pytest -m long

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/dev
	$(BIN)/pip install --quiet ".[peers]"
	$(BIN)/python -m benchmarks.start
	$(BIN)/python benchmarks/vs_torch.py

data.txt:
	$(PYTHON) -c "import pydoc_data.topics as t; print('\n\n'.join(t.topics[k] for k in sorted(t.topics)))" > $@

.venv/minidark: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/dev: .venv/minidark
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv backup data.txt build dist
