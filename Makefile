PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test check matrix bench bench-smoke clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

setup: $(VENV)/ready ## create .venv with everything needed to develop

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/ready ## train a small network on real digits, erase one class, audit what is left (no network)
	$(BIN)/python -m examples.digits
	$(BIN)/unspan erase --model python:examples.digits:model --weights build/digits.safetensors \
	  --data python:examples.digits:data --forget 3 --out build/digits-erased --eval train,test --overwrite
	$(BIN)/unspan audit python:examples.digits:model build/digits-erased --weights build/digits.safetensors \
	  --data python:examples.digits:data --out build/digits-audit --cache build/cache --overwrite

test: $(VENV)/ready ## run the test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

check: $(VENV)/ready ## lint, types, spelling, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell src docs README.md CHANGELOG.md CONTRIBUTING.md
	$(BIN)/lint-imports

matrix: $(VENV)/ready ## every network, dtype, request and method, end to end; goes on where it stopped
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m matrix --jobs 2

bench: $(VENV)/ready ## time and memory of erase against a bare forward pass
	for model in allcnn resnet18 vit; do $(BIN)/python benchmarks/erase.py --model $$model --json results/bench-erase-$$model.json; done

bench-smoke: $(VENV)/ready ## every table and figure of the papers on digits, in minutes
	OMP_NUM_THREADS=1 $(BIN)/unspan bench all --budget smoke --out build/bench-smoke & first=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/unspan bench all --budget smoke --out build/bench-smoke && wait $$first
	$(BIN)/unspan bench report --out build/bench-smoke

clean: ## remove what make created
	rm -rf $(VENV) build
