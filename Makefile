# `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -fc
.DEFAULT_GOAL := help
ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))
export INTENTREC_HOME ?= $(ROOT)/var
PYTHON ?= python3
VENV := $(ROOT)/.venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
NEEDED := import sys; (3, 11) <= sys.version_info < (3, 13) or sys.exit("Python 3.11 or 3.12 is needed, this is " + sys.version)
# Two processes, which share the test modules; each has one Spark session, one MLflow store and one prepared Airflow.
# Each computes with one thread: more would wait for each other.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
PLAYWRIGHT = playwright==1.55.0
DOMAIN ?= streaming
# Text that a person types reaches a command through the environment, and neither make nor the shell reads it: a quote,
# a blank or $ in it is no command. OPTIONS is split at blanks (-f above: without file names for *), so it has no quotes.
TYPED := FROM TO DOMAIN DATA DATASET REASON DRY CASCADE ACCEPT_PARTIAL OPTIONS
$(foreach name,$(TYPED),$(eval override $(name) := $$(value $(name))))
export $(TYPED)
ifdef DATA
export INTENTREC_DATA := $(if $(patsubst /%,,$(firstword $(DATA))),$(CURDIR)/)$(DATA)
endif
CONFIG = --config "conf/$$DOMAIN.yaml"
RANGE = --from "$$FROM" --to "$$TO" $(CONFIG)

.PHONY: help setup demo backfill rollback study status crash up down tour docs test test-fast test-all lint

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

$(READY): requirements-uv.lock requirements.lock pyproject.toml intentrec/storage/spark.py
	@$(PYTHON) -c '$(NEEDED)' || { echo "make PYTHON=python3.12 ... names another one" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c '$(NEEDED)' || { echo "$(VENV) was made with it: remove that folder" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-uv.lock
	$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m intentrec.storage.spark
	touch $(READY)

setup: $(READY)  ## install the environment and the Delta jars under .venv, once

demo: $(READY)  ## run the weekly DAG end to end: [DOMAIN=streaming] [DATA=folder of real data, else simulated] [OPTIONS=]
	$(BIN)/intentrec demo $(CONFIG) $(if $(DATA),--data "$$INTENTREC_DATA") $$OPTIONS

backfill: $(READY)  ## rebuild weeks: FROM=date TO=date [DOMAIN=] [DRY=1: only the plan] [CASCADE=1: also later weeks] [ACCEPT_PARTIAL="why"] [OPTIONS=]
	@test -n "$$FROM" -a -n "$$TO" || { echo "make backfill FROM=2026-08-17 TO=2026-08-31: first service date, and the one after the last" >&2; exit 2; }
	$(BIN)/intentrec $(if $(DRY),plan,backfill) $(RANGE) $(if $(CASCADE),--cascade) $(if $(ACCEPT_PARTIAL),--accept-partial "$$ACCEPT_PARTIAL") $$OPTIONS

rollback: $(READY)  ## make the release before the active one active again: REASON="why" [DOMAIN=] [TO=release]
	@$(BIN)/intentrec rollback $(CONFIG) --reason "$$REASON" $(if $(TO),--to "$$TO")

study: $(READY)  ## run a study of the paper's tables: DATASET=kuairand (a file of conf/studies) [DATA=its folder] [OPTIONS=]
	@test -n "$$DATASET" || { echo "make study DATASET=kuairand: a file of conf/studies, without its ending" >&2; exit 2; }
	$(BIN)/python -m lab.studies "$$DATASET" $$OPTIONS

status: $(READY)  ## show rows by week and table, what is stale, the active release: [DOMAIN=]
	$(BIN)/intentrec status $(CONFIG)

crash: $(READY)  ## inject a hundred faults into three weeks, then kill the scheduler; compare all tables [OPTIONS=]
	$(BIN)/python -m tests.chaos crash $$OPTIONS
	$(BIN)/python -m tests.chaos outages

up: $(READY)  ## serve Airflow and MLflow on 127.0.0.1: [AIRFLOW_PORT=8080] [MLFLOW_PORT=5000]
	$(BIN)/intentrec up

down: $(READY)  ## stop Airflow and MLflow
	$(BIN)/intentrec down

# A browser's driver is no dependency of the project: uv lays it over the environment for this one command.
tour: export INTENTREC_CONF = $(INTENTREC_HOME)/tour/conf
tour: $(READY)  ## take the pictures of the documentation again, after `make demo`; needs Debian's chromium
	mkdir -p "$$INTENTREC_CONF"
	cp -r conf/. "$$INTENTREC_CONF"
	$(BIN)/intentrec up
	status=0; $(BIN)/uv run --quiet --no-project --python $(BIN)/python --with $(PLAYWRIGHT) docs/tour.py || status=$$?; \
	$(BIN)/intentrec down; exit $$status

docs: $(READY)  ## build the documentation site in var/site; fails on a broken link
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test: $(READY)  ## run every test that continuous integration runs
	$(PYTEST) -m "not extended"

test-fast: $(READY)  ## run the tests of the inner loop: no slow ones
	$(PYTEST) -m "not slow and not extended"

test-all: $(READY)  ## run every test, also faults and kills, whole tables rebuilt, memory at full size, whole real files
	$(PYTEST)

lint: $(READY)  ## run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
