# make demo | test | check: each of them sets up .venv from hashed pins, once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PIP := $(VENV)/bin/python -m pip -qq --disable-pip-version-check --no-input
INSTALL := $(PIP) install --root-user-action=ignore --require-hashes

# Most tests wait for servers, leases and time-outs: one process uses about a quarter of two cores, so three fit. Each
# process starts its own servers, and runs whole files, so that the tests of a file share what they start. The order
# stays: the slow files of end_to_end/ and integration/ come first, and the quick ones of unit/ fill the end.
PROCESSES ?= 3
# Python keeps what it compiled, or each process would compile all tests again.
unexport PYTHONDONTWRITEBYTECODE
SIDE_BY_SIDE = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: demo
demo: $(VENV)/.runtime ## run the whole system on paper brokers
	$(VENV)/bin/nija demo

.PHONY: test
test: $(VENV)/.dev ## run the tests; they start their own servers
	$(VENV)/bin/pytest -m "not long and not containers" $(SIDE_BY_SIDE)

.PHONY: check
check: $(VENV)/.dev ## run ruff, mypy --strict and import-linter
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

.PHONY: ci-long
ci-long: $(VENV)/.dev ## run the tests that take minutes
	$(VENV)/bin/pytest -m "long and not alone and not waits and not containers" $(SIDE_BY_SIDE)
	$(VENV)/bin/pytest -m "long and waits and not containers" -n 2
	$(VENV)/bin/pytest -m "long and alone and not benches and not containers"

.PHONY: benches
benches: $(VENV)/.dev ## test the benchmarks that load the whole machine
	$(VENV)/bin/pytest -m benches

.PHONY: containers
containers: $(VENV)/.dev ## test the image and Compose in a real Docker engine; start one where there is none
	DOCKER_HOST="$$(.ci/docker-engine)"; export DOCKER_HOST; \
	.ci/base-images; \
	$(VENV)/bin/pytest tests/containers

.PHONY: format
format: $(VENV)/.dev ## format the sources
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

.PHONY: pins
pins: $(VENV)/.dev ## write requirements/*.txt from pyproject.toml again
	$(PIP) install uv
	printf 'hatchling>=1.27\neditables>=0.5\n' | $(VENV)/bin/python -m uv pip compile - $(COMPILE) -o requirements/build.txt
	$(VENV)/bin/python -m uv pip compile pyproject.toml $(COMPILE) -o requirements/runtime.txt
	$(VENV)/bin/python -m uv pip compile pyproject.toml --extra dev $(COMPILE) -o requirements/dev.txt

COMPILE := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-annotate --no-header

# Tries 3.12 and 3.11 first, because only they have a wheel with a redis-server. Runs each candidate, because some
# machines have a program of that name that only prints an error.
$(VENV)/bin/python:
	@for python in python3.12 python3.11 python3 python3.13 python3.14; do \
		if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			echo "setting up $(VENV) with $$($$python --version)"; \
			exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "nija needs Python 3.11 or later with venv (on Debian and Ubuntu: the packages python3 and python3-venv)" >&2; \
	exit 1

$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing the libraries"
	@$(INSTALL) -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) install --root-user-action=ignore --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@echo "installing what the tests need"
	@$(INSTALL) -r requirements/dev.txt
	@touch $@
