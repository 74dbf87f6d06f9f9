# Each target makes its own environment in .venv first: a fresh machine needs only python and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/ready
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint experiments benchmarks

demo: $(READY)
	$(BIN)/modicum demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

experiments: $(READY)
	$(BIN)/python experiments/run.py

benchmarks: $(READY)
	sh benchmarks/setup.sh
	$(BIN)/python benchmarks/run.py

# torch goes in alone and first, so that nothing else draws in another build of it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) --editable '.[dev,plots]'
	touch $@
