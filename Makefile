# Everything a developer or CI runs. `make` alone lists the targets.
#
# PYTHON           the Python (3.11 or newer) that makes the environment
# SENTEI_ISOLATED  when not empty, nothing outside this folder is read or kept: no pip cache, and
#                  the caches of models and data sets lie in the environment

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
STAMP := $(VENV)/.installed

# A shell that sits in another environment must not leak into this one.
unexport PYTHONPATH
unexport PYTHONHOME
unexport VIRTUAL_ENV
export PYTHONNOUSERSITE := 1

ifneq ($(SENTEI_ISOLATED),)
export PIP_NO_CACHE_DIR := 1
export XDG_CACHE_HOME := $(CURDIR)/$(VENV)/cache
export HF_HOME := $(XDG_CACHE_HOME)/huggingface
export TORCH_HOME := $(XDG_CACHE_HOME)/torch
endif

.DEFAULT_GOAL := help
.PHONY: help setup lint types test docs test-slow test-zoo check demo clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## make the environment in .venv; does nothing when it is up to date

# torch comes first and torchvision and timm last without their dependencies, so that no step
# replaces the build of torch that is there by a larger one.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is too old or missing: sentei needs 3.11; try make setup PYTHON=..."; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e ".[onnx,openvino,ray,search,elpv,dev]" pyyaml
	$(PIP) install -c constraints.txt --no-deps torchvision timm
	@touch $@

lint: $(STAMP)  ## style, layers, spelling
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/codespell

types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

test: $(STAMP)  ## the fast tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

docs: $(STAMP)  ## the examples of the README and of docs/
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --doctest-glob=*.md README.md docs

test-slow: $(STAMP)  ## the tests that take more than 5 s each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "slow and not zoo and not gpu"

test-zoo: $(STAMP)  ## prune and verify whole model zoos
	$(BIN)/python benchmarks/zoo.py

check: lint types test docs  ## all of these

demo: $(STAMP)  ## prune a network on solar cell images, from start to report
	$(BIN)/python examples/demo_elpv.py

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) .nox build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
