# `make serve` and `make test` are all a new machine needs. `make help` lists the rest.
.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 8000
RUNS ?= runs
ROW ?= oval-dsprites
SEED ?= 1
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
ORT := $(shell nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)


.PHONY: help serve train-env test test-slow format docs row results check clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# A half-made environment would be taken for a whole one the next time.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'This needs Python 3.11 or later; got '"$$($(PYTHON) --version)"'; name one: make PYTHON=python3.12 ...'; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

.make/serve: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the service ($(ORT) build of ONNX Runtime) into $(VENV) ..."
	$(PIP) --editable '.[$(ORT)]'
	@mkdir -p .make && touch $@

.make/train: pyproject.toml constraints.txt | .make/serve
	@echo "Installing training and export into $(VENV) (torch included; takes minutes) ..."
	$(PIP) --editable '.[$(ORT),train,export]'
	@mkdir -p .make && touch $@

.make/dev: pyproject.toml constraints.txt | .make/serve
	@echo "Installing training, export and test tools into $(VENV) (torch included; takes minutes) ..."
	$(PIP) --editable '.[$(ORT),train,export,dev]'
	@mkdir -p .make && touch $@

# Debian's Prometheus for the tests in tests/deploy: unpacked, not installed, so it needs no root and starts no daemon.
.make/prometheus:
	@mkdir -p .make && cd .make && rm -f prometheus_*.deb; \
	if command -v apt-get >/dev/null; then \
		echo "Unpacking Debian's Prometheus into .make/prometheus ..."; \
		apt-get download -qq prometheus 2>/dev/null \
			|| { apt-get update -qq && apt-get download -qq prometheus; }; \
	fi; \
	if ls prometheus_*.deb >/dev/null 2>&1; then dpkg -x prometheus_*.deb prometheus && rm prometheus_*.deb; \
	elif command -v prometheus promtool >/dev/null; then mkdir -p prometheus; \
	else echo "Tests of deploy/prometheus are left out: put prometheus and promtool on the PATH to run them."; fi

# Debian's Chromium for the tests of the explorer page; without it they fail and say so.
.make/chromium:
	@command -v chromium >/dev/null || { \
		echo "Installing Debian's Chromium ..."; \
		apt-get update -qq && apt-get install -qq --yes --no-install-recommends chromium; } || true
	@mkdir -p .make; if command -v chromium >/dev/null; then touch $@; fi

train-env: .make/train ## Add torch and the training and export tools to .venv

serve: .make/serve ## Start the service with the bundled models on PORT (8000)
	@$(BIN)/rfvae-serve serve --port $(PORT)

test: .make/dev .make/prometheus check ## Install what the tests need and run them all
	$(BIN)/python -m pytest -q -m "not slow"

test-slow: .make/dev .make/prometheus .make/chromium ## The checks that take longer than a coffee
	$(BIN)/python -m pytest -q -m slow --timeout 3600

format: .make/dev ## Format and fix the code
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

docs: .make/dev ## Write the tables of docs/operations.md from the code
	$(BIN)/python docs/make_operations.py

row: .make/train ## Train one ROW (oval-dsprites) of the results with SEED (1), score it and enter it
	$(BIN)/rfvae-train run training/configs/$(ROW).toml --seed $(SEED) --out $(RUNS)/$(ROW)-s$(SEED)
	$(BIN)/rfvae-train report $(RUNS)/$(ROW)-s$(SEED)
	$(BIN)/rfvae-train evaluate $(RUNS)/$(ROW)-s$(SEED)
	$(BIN)/python benchmarks/results.py --runs $(RUNS)

results: .make/train ## Re-make table and picture of the results from the run folders in RUNS (runs)
	$(BIN)/python benchmarks/results.py --runs $(RUNS)

check: .make/dev ## Lint, types and import contracts
	$(BIN)/ruff format --check . && $(BIN)/ruff check .
	$(BIN)/mypy service onnx_export
	$(BIN)/lint-imports

clean: ## Remove the environment and caches
	rm -rf $(VENV) .make .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
