# Everything runs from a virtual environment in the checkout, made once by the first target that needs it.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
DEVICE := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
READY  := $(VENV)/.ready-$(DEVICE)
# without compiled files each process compiles all it imports: tests and a run's actors alike would start seconds later
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo learning test check format

demo: $(READY)            ## train the shapes critic by GRPO and show that it got better
	$(BIN)/interleave train recipes/shapes_grpo.yaml run_dir=runs/demo-$$(date +%Y%m%d-%H%M%S)

learning: $(READY)        ## the demo with three seeds; fails unless all three hold
	$(BIN)/interleave learning recipes/shapes_grpo.yaml --seeds 0,1,2

test: $(READY) check      ## what CI runs
	$(BIN)/pytest -m slow --durations=8

check: $(READY)           ## format, lint, types and the fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -m "not slow" -n 2 --dist loadfile

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(READY)

$(READY): setup.py requirements.lock
	@echo "setting up $(VENV) for $(DEVICE) (a few minutes, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile -c requirements.lock -e ".[$(DEVICE),dev]"
	@# pip compiles on one core; files that no Python 3 can read are nobody's to mend
	@$(PYTHON) -m compileall -q -j 0 $(VENV)/lib actors data evals recipes rewards rl rollout >/dev/null 2>&1 || true
	@touch $@
