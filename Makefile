# Switchboard's one door; `make` alone lists the targets. Wants Linux x86_64 with Python 3.11 or 3.12 and sets up the rest.
#   make up TORCH_INDEX=<package index with CPU builds of torch>   spares gigabytes of CUDA libraries on a machine without a GPU
#   make setup PYTHON=/path/to/python3.12                           picks the interpreter
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?=
TORCH_INDEX ?=
TEST_ARGS ?=
DATA ?=
REPLAY_ARGS ?=
RELEASED ?=

# Finds an interpreter that runs and fits, and creates the virtual environment; says in one line what is missing.
define create_venv
@set -eu; \
if [ "$$(uname -s) $$(uname -m)" != "Linux x86_64" ]; then \
  echo "setup: this is $$(uname -s) $$(uname -m); vowpal-wabbit-next has wheels for Linux x86_64 only" >&2; exit 1; fi; \
fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'; \
if [ -x $(PY) ] && $(PY) -c "$$fits" 2>/dev/null; then exit 0; fi; \
if [ -e $(VENV) ]; then echo "setup: $(VENV) exists without a working Python 3.11 or 3.12; remove it and run make again" >&2; exit 1; fi; \
for python in $(or $(PYTHON),python3.11 python3.12 python3); do \
  if "$$python" -c "$$fits" >/dev/null 2>&1; then \
    echo "setup: creating $(VENV) with $$("$$python" -V)"; "$$python" -m venv $(VENV) && exit 0; \
    rm -rf $(VENV); echo "setup: $$python -m venv failed (on Debian: apt install python3-venv)" >&2; exit 1; fi; \
done; \
echo "setup: found no Python 3.11 or 3.12 (tried: $(or $(PYTHON),python3.11 python3.12 python3)); install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; exit 1
endef

define install
@echo "setup: installing into $(VENV); the first time takes minutes"
@$(PY) -m pip install --quiet --upgrade --constraint constraints.txt pip
@if [ -n "$(TORCH_INDEX)" ]; then $(PY) -m pip install --no-deps --constraint constraints.txt --index-url "$(TORCH_INDEX)" torch; fi
@$(PY) -m pip install --quiet --constraint constraints.txt --editable '$(1)'
endef

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.setup ## Create .venv with what serving needs; skipped while pyproject.toml and constraints.txt are unchanged
	@true

setup-dev: $(VENV)/.setup-dev ## The same with the tools for tests and checks
	@true

$(VENV)/.setup: pyproject.toml constraints.txt
	$(create_venv)
	$(call install,.)
	@touch $@

$(VENV)/.setup-dev: pyproject.toml constraints.txt
	$(create_venv)
	$(call install,.[dev])
	@touch $(VENV)/.setup $@

up: setup ## Start Ray and all applications on http://127.0.0.1:8000; Ctrl-C stops all of it
	@exec $(PY) -m serve up

demo: setup ## Send a few hundred prompts through the running gateway and draw what was learned
	@$(PY) -m serve demo

test: setup-dev ## Run all tests, those on a real local Ray included
	@$(PY) -m pytest $(TEST_ARGS)

test-fast: setup-dev ## Run the tests that need neither Ray nor patience
	@$(PY) -m pytest -m "not ray and not slow" $(TEST_ARGS)

check: setup-dev ## Look for what is wrong without changing anything: lint, format, types, import directions
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

fix: setup-dev ## Mend what lint and format can mend by themselves
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

bench: setup-dev ## Measure decisions, journal, gateway, learner, flow, attention and regret; rows go to runs/bench.csv
	@mkdir -p runs
	@$(PY) -m tests.bench.bench_decide runs/bench.csv
	@$(PY) -m tests.bench.bench_journal runs/bench.csv
	@$(PY) -m tests.bench.bench_gateway runs/bench.csv
	@$(PY) -m tests.bench.bench_flow runs/bench.csv $(if $(RELEASED),--released "$(RELEASED)")
	@$(PY) -m tests.bench.bench_attention runs/bench.csv
	@$(PY) -m tests.bench.bench_regret

replay: setup ## Replay a table of prompts and models as a bandit: make replay DATA=table.csv
	@test -n "$(DATA)" || { echo "replay: name a table: make replay DATA=table.csv [REPLAY_ARGS=\"--seeds 10\"]" >&2; exit 2; }
	@$(PY) -m bandit replay "$(DATA)" $(REPLAY_ARGS)

train-autoencoder: setup ## Train the embedded autoencoder; resumes where it stopped
	@$(PY) -m replicas.training.autoencoder

train-gan: setup ## Train the embedded GAN tier; resumes
	@$(PY) -m replicas.training.gan

train-diffusion: setup ## Train the embedded diffusion tier; resumes
	@$(PY) -m replicas.training.diffusion

train-flow: setup ## Train the embedded flow tier; resumes
	@$(PY) -m replicas.training.flow

train-scorer: setup ## Train the embedded scorer; resumes
	@$(PY) -m replicas.training.scorer

train-check: setup ## Train the independent check that reads what an image shows; resumes
	@$(PY) -m replicas.training.detector

evaluate: setup ## Measure the embedded models with that check: tables and a contact sheet
	@$(PY) -m replicas.training.evaluate

.PHONY: help setup setup-dev up demo test test-fast check fix bench evaluate replay \
	train-autoencoder train-gan train-diffusion train-flow train-scorer train-check
