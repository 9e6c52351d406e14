# make demo       trains a network on Alice in Wonderland, samples from it and writes its page (three
#                 minutes); TEXT=FILE names another text
# make test       lint, types, import contract, and the tests to run after every change (two minutes)
# make test-all   the same plus the slower tests: browser, MPI, killed processes, simulated GPU
# make docs       builds the site from docs/ into build/docs
# make serve      builds the site and serves it at http://127.0.0.1:8000
# make fuzz       searches for input that crashes a reader (two minutes)
# Needs Python 3.11 or newer and make. Everything else is installed into .venv.

PYTHON ?= python3
BIN = .venv/bin
comma := ,

# Write bytecode even if the environment disables it. Without it, every process that a test starts
# compiles all modules, and pytest rewrites all assertions.
test test-all test-long machines: export PYTHONDONTWRITEBYTECODE =

.PHONY: demo test test-all test-long machines lint docs serve fuzz bench bench-busy bench-learning bench-scale clean

# The command prints `minidark train cfg/rnn.cfg ...` and its other commands before it runs them.
demo: .venv/minidark
	@$(BIN)/minidark demo $(if $(TEXT),"$(TEXT)")

# The first pytest compiles the kernels; the processes of the second only load them.
TEST = $(BIN)/pytest --numprocesses auto --dist loadfile
test: lint
	$(TEST) tests/backend
	$(TEST) --ignore tests/backend

test-all: lint
	$(TEST) -m "not long and not gpu" tests/backend
	$(TEST) -m "not long and not gpu" --ignore tests/backend

# Each loop over mutated files takes many minutes on one processor, so they run in parallel.
# SHORT=1 reads a tenth of the files.
test-long: .venv/dev
	$(BIN)/pytest -m long --ignore tests/fuzz
	$(BIN)/pytest -m long --numprocesses auto --dist worksteal tests/fuzz $(if $(SHORT),--short)

# Runs the numeric tests with other BLAS kernels, instruction sets, threads, Pythons and
# dependencies. SHORT=1 runs only three BLAS kernels and two instruction sets.
machines: .venv/dev
	$(BIN)/python -m tests.machines $(if $(SHORT),--short)

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/dev
	$(BIN)/python -m sphinx -E -q -W --keep-going -b html docs build/docs

serve: docs
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/docs 8000

# Coverage-guided, one minute each, with atheris (the extra `fuzz`). Inputs that crash a reader are
# added to the corpus, which make test replays. New inputs that only add coverage go to build/.
fuzz: .venv/dev
	$(BIN)/pip install --quiet --editable ".[fuzz]"
	for kind in cfg weights; do \
	    mkdir -p build/fuzz/$$kind; \
	    $(BIN)/python -m tests.fuzz.with_atheris $$kind -max_total_time=60 -rss_limit_mb=512 \
	        -timeout=1 -artifact_prefix=tests/corpus/$$kind/ build/fuzz/$$kind tests/corpus/$$kind \
	        || exit 1; \
	done

bench: .venv/dev
	$(BIN)/pip install --quiet --editable ".[peers]"
	$(BIN)/python -m benchmarks --profile

# Default threads against one thread, while other programs keep the processors busy.
bench-busy: .venv/dev
	$(BIN)/python -m benchmarks.busy

# Two ranks against one, and simulated results for thousands of ranks.
bench-scale: .venv/dev
	$(BIN)/pip install --quiet --editable ".[mpi]"
	$(BIN)/python -m benchmarks.scale

# Accuracy against goals and scikit-learn. TEXT=FILE adds text generation; NANOGPT=DIR, a checkout
# with a prepared data/shakespeare_char, adds nanoGPT's own recipe; MULTI30K=DIR adds translation
# and PyTorch's; REVIEWS=DIR adds sentiment. SEEDS=1 networks are trained for each row.
# ROWS="numbers translation" measures these tasks; without it, tasks that were measured before, with
# results in build/learning, are not measured again.
bench-learning: .venv/dev
	$(BIN)/pip install --quiet --editable ".[learning$(if $(NANOGPT)$(MULTI30K),$(comma)peers)]"
	$(BIN)/python -m benchmarks.learning $(ROWS) $(if $(TEXT),--text "$(TEXT)") \
	    $(if $(NANOGPT),--nanogpt "$(NANOGPT)") $(if $(MULTI30K),--multi30k "$(MULTI30K)") \
	    $(if $(REVIEWS),--reviews "$(REVIEWS)") $(if $(SEEDS),--seeds $(SEEDS))

data.txt:
	$(PYTHON) -c "import pydoc_data.topics as t; print('\n\n'.join(t.topics[k] for k in sorted(t.topics)))" > $@

.venv/minidark: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[report]"
	touch $@

.venv/dev: .venv/minidark
	$(BIN)/pip install --quiet --editable ".[dev,docs,fast,metrics,onnx,report]"
	touch $@

clean:
	rm -rf .venv backup data.txt play.html build dist
