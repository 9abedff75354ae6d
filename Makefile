# Everything runs from a virtual environment in the checkout, made once by the first target that needs it.
SHELL  := /bin/bash
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
DEVICE := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
READY  := $(VENV)/.ready-$(DEVICE)
PIP    := $(BIN)/pip install --quiet --no-compile -c requirements.lock
# PyTorch's builds for CPUs (0.2 GB): taken where pip knows them, or where their own index answers within a second.
# Elsewhere it is PyPI's build for CUDA, which runs on CPUs as well (7 GB with its libraries).
TORCH     := $(shell sed -n s/^torch==//p requirements.lock)
CPU_INDEX := https://download.pytorch.org/whl/cpu
ANSWERS   := import signal, sys, urllib.request as web; signal.setitimer(signal.ITIMER_REAL, 1); web.urlopen(sys.argv[1])
packages = $(sort $(dir $(wildcard $1/*/__init__.py)))
files    = $(wildcard $1/test_*.py)
# half of the slow tests, by their time: those that start real models
MODELS  := $(addprefix tests/actors/,generator/ policy/ sampler/ weights/) tests/benchmarks/
# without compiled files each process compiles all it imports: tests and a run's actors alike would start seconds later
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup install-cpu install-gpu demo learning test check docs format fast-rl fast-actors fast-rest slow-models slow-rest

demo: RUN_DIR := runs/demo-$(shell date +%Y%m%d-%H%M%S)
demo: $(READY)            ## train the shapes critic by GRPO and show that it got better
	@# make shows the command with its folder: what was interrupted goes on by that command and --resume
	$(BIN)/interleave train recipes/shapes_grpo.yaml run_dir=$(RUN_DIR)

learning: $(READY)        ## the demo with three seeds; fails unless all three hold
	$(BIN)/interleave learning recipes/shapes_grpo.yaml --seeds 0,1,2

test: $(READY) check      ## what CI runs
	@# two at once: one alone leaves a third of two cores idle, and of more each waits for the others
	@$(MAKE) --no-print-directory -j 2 slow-models slow-rest

slow-models: TESTS = $(MODELS)
slow-rest: TESTS = $(filter-out $(MODELS) tests/actors/ tests/support/,$(call packages,tests) $(call packages,tests/actors)) \
	$(call files,tests) $(call files,tests/actors)
slow-models slow-rest: $(READY)
	@# whole lines, each with whose it is
	set -o pipefail; $(BIN)/pytest -m slow --durations=8 $(TESTS) | sed -u "s/^/$@: /"

check: $(READY)           ## format, lint, types and the fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@# three processes, each of which reads its own tests alone: with pytest-xdist all of them read all
	@$(MAKE) --no-print-directory -j 3 -O fast-rl fast-actors fast-rest

fast-rl: TESTS = $(call packages,tests/rl)
fast-actors: TESTS = tests/actors
fast-rest: TESTS = $(filter-out tests/rl/ tests/actors/ tests/support/,$(call packages,tests)) \
	$(call files,tests) $(call files,tests/rl)
fast-rl fast-actors fast-rest: $(READY)
	@# one thread: they share the cores
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not slow" $(TESTS)

docs: $(READY)            ## links, commands, examples, messages and files of all pages
	$(BIN)/pytest -q -m "not slow" tests/test_documents.py tests/test_document_commands.py tests/test_doctests.py \
		tests/test_extensions.py tests/test_clusters.py tests/test_troubleshooting.py \
		tests/rl/cli/test_keys.py tests/rl/cli/test_licences.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(READY)

$(READY): setup.py pyproject.toml requirements.lock actors/cpu_torch.py
	@echo "setting up $(VENV) for $(DEVICE) (a few minutes, once)"
	$(PYTHON) -m venv $(VENV)
	@$(MAKE) --no-print-directory install-$(DEVICE)
	$(BIN)/python -m actors.cpu_environment
	@# pip compiles on one core; files that no Python 3 can read are nobody's to mend
	@$(PYTHON) -m compileall -q -j 0 $(VENV)/lib actors data evals recipes rewards rl rollout >/dev/null 2>&1 || true
	@touch $@

install-gpu:
	$(PIP) -e ".[gpu,dev]"

install-cpu:
	@if $(BIN)/pip index versions torch 2>/dev/null | grep -qF '$(TORCH)+cpu'; then \
		set -x; $(PIP) -e ".[cpu,dev]"; \
	elif ($(PYTHON) -c '$(ANSWERS)' $(CPU_INDEX)/torch/ || exit 1) 2>/dev/null; then \
		set -x; $(PIP) --extra-index-url $(CPU_INDEX) -e ".[cpu,dev]"; \
	else \
		echo "no CPU build of PyTorch here: taking PyPI's, of several gigabytes"; \
		$(PIP) uv && \
		echo torch==$(TORCH) | $(BIN)/uv pip install --quiet --python $(BIN)/python -c requirements.lock \
			--overrides - -e ".[cpu,dev]"; \
	fi
