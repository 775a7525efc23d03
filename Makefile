# make demo: set up an environment and enhance sample images into demo/before-after.png
# make test: set up the same environment for development and run all tests, host tests included where ComfyUI is, in
#   two processes (make test WORKERS=8: in eight)
# make host-matrix: run the host tests in every ComfyUI that is laid out (HOSTS="FOLDER FOLDER=PYTHON …"), one table
# make pack: make the pack that the registry gives to users, dist/hidra-thermal.zip, and state its size
# make lint: check format, style and types; make types: types alone; make format: put files into format

PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
COMFYUI_PATH ?= $(HOME)/comfy/ComfyUI
WORKERS ?= 2

.PHONY: demo test host-matrix pack lint types format clean

demo: $(VENV)/.cli
	$(BIN)/python benchmarks/demo.py demo

# each worker, and every program that its tests start, computes with one thread: together they fill the cores
test: $(VENV)/.dev
	COMFYUI_PATH="$(COMFYUI_PATH)" COMFYUI_PYTHON="$${COMFYUI_PYTHON:-$(BIN)/python}" \
		OMP_NUM_THREADS="$${OMP_NUM_THREADS:-1}" $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

host-matrix: $(VENV)/.dev
	OMP_NUM_THREADS="$${OMP_NUM_THREADS:-1}" $(BIN)/python tests/host/matrix.py $(HOSTS)

pack:
	$(PYTHON) benchmarks/pack.py dist/hidra-thermal.zip

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --project .

types: $(VENV)/.dev
	$(BIN)/basedpyright --project .

format: $(VENV)/.dev
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	touch $@

# constraints.txt pins what was tested, for a repeatable development environment; users' installs are not pinned
$(VENV)/.cli: pyproject.toml constraints.txt $(VENV)/.pip
	$(BIN)/python -m pip install --quiet -e ".[cli]" -c constraints.txt
	touch $@

# where a ComfyUI is installed, its own requirements go in too, so that one interpreter can run both
$(VENV)/.dev: pyproject.toml constraints.txt $(VENV)/.pip
	$(BIN)/python -m pip install --quiet -e ".[dev]" -c constraints.txt
	if [ -f "$(COMFYUI_PATH)/requirements.txt" ]; then \
		$(BIN)/python -m pip install --quiet -r "$(COMFYUI_PATH)/requirements.txt" -c constraints.txt; fi
	touch $@ $(VENV)/.cli

clean:
	rm -rf $(VENV) demo build dist *.egg-info
