# Needs python3 (3.11 or newer) with its venv module, and git; everything else is installed into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KERAS := .cache/keras
PEERS := mlserver litserve bentoml
PIP := $(BIN)/python -m pip
# pip 25.1 and newer knows dependency groups; older ones are upgraded first.
INSTALL := PIP_DISABLE_PIP_VERSION_CHECK=1 $(PIP) install --quiet --constraint constraints.txt
PROJECTS := proto client server trainer
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ORT_DISABLE_TELEMETRY := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-stack bench-training bench-serving bench-peers lint format generate clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

install: $(VENV)/.dev ## Install latentry and its development tools into .venv

demo: $(VENV)/.runtime ## Serve the pretrained models, train one live, call them all; leaves demo/index.html
	$(BIN)/python -m examples.demo

test: lint ## Run every check and test but those of the running containers
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadgroup

test-stack: $(VENV)/.dev ## Test the running compose stack
	$(BIN)/pytest tests/stack

bench-training: $(VENV)/.runtime $(KERAS)/.installed ## Compare the speed of training with the book's Keras code
	$(BIN)/python -m benchmarks.training_speed --keras-python $(KERAS)/bin/python
	$(BIN)/python -m benchmarks.training_scale

bench-serving: $(VENV)/.runtime ## Compare the server with its limits: a bare gRPC server and bare onnxruntime
	$(BIN)/python -m benchmarks.serving

bench-peers: $(VENV)/.runtime $(PEERS:%=.cache/peers/%/.installed) ## Compare the server with MLServer, LitServe and BentoML
	$(BIN)/python -m benchmarks.serving.peers

lint: $(VENV)/.dev ## Check style, types, imports, the API, generated code and scripts
	ruff check
	ruff format --check
	mypy
	lint-imports
	buf lint
	buf breaking --against proto/baseline.binpb
	proto/generate.sh .cache/generated
	diff --recursive --exclude __init__.py --exclude __pycache__ --exclude py.typed .cache/generated/latentry proto/src/latentry
	shellcheck .ci/run $$(git ls-files '*.sh')

format: $(VENV)/.dev ## Format the code
	ruff check --fix
	ruff format

generate: ## Generate the Python code of the API from proto/latentry/v1
	proto/generate.sh

clean: ## Remove .venv, caches and the demo; models/ and runs/ stay
	rm -rf $(VENV) .cache demo dist .*_cache

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("latentry needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: constraints.txt $(PROJECTS:%=%/pyproject.toml) | $(BIN)/pip
	@echo "Installing latentry into $(VENV): about a minute"
	@$(INSTALL) --upgrade pip
	@$(INSTALL) hatchling editables
	@$(INSTALL) --no-build-isolation --editable proto --editable 'client[cli]' --editable 'server[cpu]' --editable trainer
	@touch $@

$(KERAS)/.installed: benchmarks/training_speed/requirements.txt
	$(PYTHON) -m venv $(KERAS)
	$(KERAS)/bin/python -m pip install --quiet --requirement $<
	@touch $@

.cache/peers/%/.installed: benchmarks/serving/peers/requirements-%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --requirement $<
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.runtime
	@$(INSTALL) --group dev
	@touch $@
