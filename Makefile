# Needs Python ≥ 3.11 with venv, and make. Everything else comes out of the lock files, hashes checked.
# Flags pass through: make up ARGS="--rate 20", make test ARGS="-k ledger", PORT=4000 make up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# Most tests wait for services: three processes keep two cores busy. TESTERS=0 runs them in one.
TESTERS ?= 3
COMPILE := uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help up dev prod test test-unit test-e2e coverage lint format bench lock runtime development clean

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# With `exec` and the tether the quickstart ends with this make, however that ends.
TETHERED := exec $(BIN)/python -I -S bus/embedded/tether.py $$PPID $(BIN)/python

up: runtime ## Start all: Kafka, Redis, web, consumers and traffic (PORT, default 3007)
	@$(TETHERED) manage.py quickstart $(ARGS)

dev: development ## The same; web and consumers restart when a file changes
	@$(TETHERED) manage.py quickstart --reload $(ARGS)

prod: export APP_ENV := production
prod: runtime ## Web, monitor and consumers with production settings, on your own Kafka, Redis and database
	@$(TETHERED) manage.py serve $(ARGS)

test: development ## Run every test
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile $(ARGS)

test-unit: development ## Run the tests of single parts
	$(BIN)/python -m pytest tests/unit $(ARGS)

test-e2e: development ## Run the tests that start the whole product
	$(BIN)/python -m pytest tests/e2e $(ARGS)

coverage: development ## Run every test and show what they don't reach
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered

lint: development ## Check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict .
	$(BIN)/python -m pytest -q tests/unit/test_import_rules.py

format: development ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: development ## Measure events per second beside bare confluent-kafka
	$(BIN)/python -m tests.benchmark $(ARGS)

lock: ## Write the lock files anew from pyproject.toml (needs uv)
	$(COMPILE) $(ARGS) -o requirements.lock
	$(COMPILE) $(ARGS) --group dev -c requirements.lock --no-annotate -o requirements-dev.lock

clean: ## Remove what was built and what the quickstart keeps
	rm -rf $(VENV) .quickstart .mypy_cache .ruff_cache .pytest_cache .hypothesis htmlcov staticfiles .coverage .coverage.*

# A copy of the lock in the venv tells what is installed: installing is repeated when the lock's text differs, not when
# its date does, and after an installation that broke off.
runtime: python
	@cmp -s requirements.lock $(VENV)/requirements.lock || { \
	  echo "Installing requirements.lock into $(VENV)" && \
	  $(BIN)/python -m pip install -q --require-hashes -r requirements.lock && \
	  cp requirements.lock $(VENV)/requirements.lock; }

# The development lock holds the runtime's versions too, so that both can share one venv.
development: python
	@cmp -s requirements-dev.lock $(VENV)/requirements-dev.lock || { \
	  echo "Installing requirements-dev.lock into $(VENV)" && \
	  $(BIN)/python -m pip install -q --require-hashes -r requirements-dev.lock && \
	  cp requirements.lock requirements-dev.lock $(VENV)/; }

.PHONY: python
python:
	@$(BIN)/python -c '' 2>/dev/null || { \
	  command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed, and $(PYTHON) isn't there. Install it, or name yours: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) -V 2>&1). Name a newer one: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks venv. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	  rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
