# Cloud Button: the commands. Each makes the environment it needs in .venv; nothing else to do first.
#
#   make demo    run the first tutorial notebook here, without a browser
#   make lab     open it in JupyterLab
#   make test    all tests, those in a browser too
#   make lint    formatting, lint, types, layers (make format repairs what it can)
#   make bench   speed, with other pools beside ours
#   make faults  kill processes at each of their writes, and count what is lost
#   make clean   remove .venv, node_modules and all caches
#
#   make test-newest   tests of what depends on packages, with the newest release of each
#   make test-lowest   the same with the lowest versions that pyproject.toml admits
#   make constraints   refresh constraints.txt: the versions of packages that all of these install
#
# demo and bench need Python only; the others build the JupyterLab extension, with Node.js 20.19 or newer.
# PYTHON chooses the interpreter (3.10 or newer): make demo PYTHON=python3.13

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(VENV)-uv
FIRST  := examples/01-first-cloud-cell.ipynb

# JupyterLab refuses to run as root unless told; in a container there is nobody else.
LAB_FLAGS ?= $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo lab test test-newest test-lowest lint format bench faults notebooks constraints clean

help:
	@sed -n 's/^#   //p' Makefile

# One stamp for each set of extras; changed requirements or versions install again.
$(VENV)/.ready-%: pyproject.toml constraints.txt tools/setup
	@tools/setup "$(PYTHON)" "$(VENV)" $*
	@touch $@

.PRECIOUS: $(VENV)/.ready-%

# The JupyterLab extension; a file of it changed builds all again (a few seconds).
EXTENSION := cloudbutton_ext/labextension/package.json
SCRIPTS   := $(shell find labextension -name lib -prune -o -name tests -prune -o -type f -print)

$(EXTENSION): package.json package-lock.json tools/javascript $(SCRIPTS)
	@tools/javascript build:prod

demo: $(VENV)/.ready-demo
	@$(BIN)/python tools/run_notebook.py $(FIRST)

lab: $(VENV)/.ready-lab $(EXTENSION)
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/jupyter lab $(LAB_FLAGS) $(FIRST)

test: $(VENV)/.ready-test $(EXTENSION)
	@tools/javascript test
	@TEST_BROWSER="$$(tools/browser)" $(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.ready-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@tools/javascript lint

format: $(VENV)/.ready-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@tools/javascript format

bench: $(VENV)/.ready-bench
	@$(BIN)/python -m benchmarks $(ARGS)

# `ARGS=--at-once=2`, or `ARGS="--first 40 --seeds 1"` for one of them again.
faults: $(VENV)/.ready-test
	@$(BIN)/python -m benchmarks.faults crash-points $(ARGS)

# Runs every example and writes its outputs back into it. They use Dask and the emulator of Lambda, too.
notebooks: $(VENV)/.ready-test
	@$(BIN)/python tools/run_notebook.py --save --temporary-home examples/*.ipynb

# uv resolves for every Python and platform at once. It is a tool in an environment of its own.
$(UV)/.ready: constraints.txt
	@tools/environment "$(PYTHON)" $(UV)
	@$(UV)/bin/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

constraints: $(UV)/.ready
	@$(UV)/bin/python tools/constraints.py $(ARGS)

# Each in an environment of its own. PART=short is what CI runs; ARGS are for pytest, in place of a part.
PART ?= long

test-newest test-lowest: test-%: $(UV)/.ready $(EXTENSION)
	@$(UV)/bin/python tools/other_versions.py $* $(PART) $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-* node_modules labextension/lib cloudbutton_ext/labextension
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
