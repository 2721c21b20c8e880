# One vocabulary: setup, demo, backfill, up, down, test, test-fast, lint. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))
export INTENTREC_HOME ?= $(ROOT)/var
PYTHON ?= python3
VENV := $(ROOT)/.venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup test test-fast lint

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

$(READY): requirements.lock pyproject.toml intentrec/spark.py
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed, this is %s" % sys.version'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	$(BIN)/python -m intentrec.spark
	touch $(READY)

setup: $(READY)  ## environment and Delta jars under .venv, once

test: $(READY)  ## every test that continuous integration runs
	$(BIN)/python -m pytest

test-fast: $(READY)  ## the inner loop, under two minutes
	$(BIN)/python -m pytest -m "not slow"

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
