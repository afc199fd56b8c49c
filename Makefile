# The only door: everything a person or a CI does here is a target of this file.
# `make help` lists them. Nothing but Python 3.11+ and a package index is assumed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
PACKAGES := shared/pyproject.toml sdk/pyproject.toml local/pyproject.toml \
	trainers/behaviour_cloning/pyproject.toml
CODEBASES := functions/rlds functions/fleet functions/training functions/models functions/ota

.DEFAULT_GOAL := help
.PHONY: help setup demo run test test-unit test-integration test-rules test-e2e test-browser \
	test-executors test-conformance test-js conformance fuzz emulators chaos check lint types imports generated generate format bench bench-quick lock wheels clean

help: ## List the targets
	@grep -hE '^[a-z][a-z0-9-]*:.*##' $(MAKEFILE_LIST) | \
		awk -F ':.*## ' '{ printf "  %-18s %s\n", $$1, $$2 }'

$(READY): pyproject.toml constraints.txt $(PACKAGES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV) (once; about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-e 'shared[platform,ota]' -e 'sdk[train,ota]' -e local -e trainers/behaviour_cloning \
		--group dev
	@touch $(READY)

setup: $(READY) ## Make .venv with everything in it

demo: $(READY) ## The main job end to end on an embedded local cloud
	@$(BIN)/continuon-local exec -- $(BIN)/python examples/demo.py

run: $(READY) ## Keep the local cloud and the web pages up; data stays in .continuon/
	@$(BIN)/continuon-local up

test: test-unit test-integration test-rules test-e2e test-browser test-conformance ## Every tier that needs no extra install

test-unit: $(READY) ## Decisions and codecs; opens no socket
	$(PYTEST) tests/unit

test-integration: $(READY) ## Real Google clients against the local cloud
	$(PYTEST) tests/integration

test-rules: $(READY) ## Security rules, allow and deny
	$(PYTEST) tests/rules

test-e2e: $(READY) ## The robot client through the hosting gateway, bad days included
	$(PYTEST) tests/e2e

test-browser: $(READY) ## Pages in a real browser, where Chromium is installed
	$(PYTEST) tests/browser

test-executors: $(READY) ## Training's back ends with every client; installs them into .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group executors
	$(PYTEST) tests/integration/executors

test-conformance: $(READY) ## Answers equal to those recorded from Google's emulators
	$(PYTEST) tests/conformance

JAVASCRIPT := .cache/javascript
JAVASCRIPT_PACKAGES := tests/integration/local/firestore/javascript/package.json

$(JAVASCRIPT)/.ready: $(JAVASCRIPT_PACKAGES)
	@mkdir -p $(JAVASCRIPT)
	@cp $(JAVASCRIPT_PACKAGES) $(JAVASCRIPT)/
	npm install --prefix $(JAVASCRIPT) --no-audit --no-fund --ignore-scripts
	@touch $@

test-js: $(READY) $(JAVASCRIPT)/.ready ## Google's JavaScript libraries, from npm; needs Node 20
	NODE_MODULES=$(CURDIR)/$(JAVASCRIPT)/node_modules \
		$(PYTEST) tests/integration/local/firestore/test_firestore_javascript.py

conformance: $(READY) ## Compare with Google's emulators and clients' own suites; RECORD=1 renews
	PYTHONPATH=tests $(BIN)/python -m conformance $(if $(RECORD),--record) $(if $(JSON),--json $(JSON))

fuzz: $(READY) ## Random operations against ours and Google's Firestore, by SEED
	PYTHONPATH=tests $(BIN)/python -m conformance --fuzz $(or $(SEED),1)

emulators: $(READY) ## One upload under the Firebase CLI's emulators, where it is installed
	PYTHONPATH=tests $(BIN)/python -m emulators

chaos: $(READY) ## 200 training jobs among seeded faults; JOBS=40 SEED=7 choose others
	PYTHONPATH=tests $(BIN)/python -m chaos $(if $(JOBS),--jobs $(JOBS)) $(if $(SEED),--seed $(SEED))

check: lint types imports generated ## Everything that needs no run: lint, types, layers, generated files

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy shared/continuon sdk/continuon_cloud local/continuon_local
	$(BIN)/mypy trainers/behaviour_cloning
	@for codebase in $(CODEBASES); do echo "mypy $$codebase"; $(BIN)/mypy $$codebase || exit 1; done
	$(BIN)/mypy tests benchmarks scripts examples

imports: $(READY)
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_layers.py

generated: $(READY)
	$(BIN)/python scripts/generate.py --check

generate: $(READY) ## Renew generated files: OpenAPI, problem codes, episode codes
	$(BIN)/python scripts/generate.py

format: $(READY) ## Format and apply safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## Measure: ratios against named baselines, and billable operations
	$(BIN)/python benchmarks/run.py

bench-quick: $(READY) ## The same with small inputs
	$(BIN)/python benchmarks/run.py --quick

wheels: $(READY) ## Build the wheels into dist/
	$(BIN)/python -m build --wheel --outdir dist shared
	$(BIN)/python -m build --wheel --outdir dist sdk
	$(BIN)/python -m build --wheel --outdir dist local
	$(BIN)/python -m build --wheel --outdir dist trainers/behaviour_cloning

lock: $(READY) ## Renew constraints.txt from what is installed
	$(BIN)/python -m pip freeze --exclude-editable | grep -v '^-e ' > constraints.txt

clean: ## Remove what was built; data in .continuon/ stays
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
