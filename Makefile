PYTHON ?= python3
PIP_TORCH ?=
VENV := .venv
BIN := $(VENV)/bin
# tests start many processes: compiled modules are kept, wherever the environment forbids it
KEEP := PYTHONPYCACHEPREFIX=$(CURDIR)/build/pycache PYTHONDONTWRITEBYTECODE=
SUITE := $(KEEP) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

.PHONY: help setup demo test test-fast check coverage metrics durations wheel docs matrix bench bench-smoke clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

setup: $(VENV)/ready ## create .venv with everything needed to develop

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt $(PIP_TORCH) torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/ready ## train small networks on real digits, erase one class, audit what is left (no network)
	$(BIN)/python -m examples.digits
	$(BIN)/unspan erase --model python:examples.digits:model --weights build/digits.safetensors \
	  --data python:examples.digits:data --forget 3 --out build/digits-erased --eval train,test --overwrite
	$(BIN)/unspan audit python:examples.digits:model build/digits-erased --weights build/digits.safetensors \
	  $(foreach seed,1 2 3,--reference build/digits-without-3-$(seed).safetensors) \
	  --data python:examples.digits:data --out build/digits-audit --cache build/cache --overwrite

test: $(VENV)/ready ## run the whole test suite
	$(SUITE)

test-fast: $(VENV)/ready ## run the tests that are not slow, in two minutes
	$(SUITE) -m "not slow"

check: $(VENV)/ready ## format, lint, types, spelling, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell src docs tools README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md
	$(BIN)/lint-imports

coverage: $(VENV)/ready ## run the whole suite and print which lines no test reaches
	$(SUITE) --cov --cov-report=term:skip-covered --cov-report=html:build/coverage

metrics: $(VENV)/ready ## the numbers of the house: lines, functions, cycles, types, tests, words, calls
	$(BIN)/python tools/house.py --types --tests --calls

durations: $(VENV)/ready ## processor seconds of every test, and the tests that count as slow
	mkdir -p build && rm -f build/times.jsonl
	$(SUITE) -p tools.times --times build/times.jsonl
	$(BIN)/python tools/times.py build/times.jsonl

docs: $(VENV)/ready ## build the site into build/site, with warnings as errors
	$(BIN)/python docs/measured.py --check
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/site

wheel: ## build the wheel, install it in a fresh environment and use it there
	rm -rf build/wheel-env dist
	$(PYTHON) -m venv build/wheel-env
	build/wheel-env/bin/pip install --quiet build
	build/wheel-env/bin/python -m build --outdir dist
	build/wheel-env/bin/pip install --quiet -c constraints.txt $(PIP_TORCH) torch
	build/wheel-env/bin/pip install --quiet -c constraints.txt dist/*.whl
	build/wheel-env/bin/python tools/wheel_test.py

matrix: $(VENV)/ready ## every network, dtype, request and method, end to end; goes on where it stopped
	PYTHONPATH=tests OMP_NUM_THREADS=1 $(BIN)/python -m matrix --jobs 2

bench: $(VENV)/ready ## time and memory of erase against a bare forward pass
	for model in allcnn resnet18 vit; do $(BIN)/python benchmarks/erase.py --model $$model --json results/bench-erase-$$model.json; done

bench-smoke: $(VENV)/ready ## every table and figure of the papers on digits, in minutes
	OMP_NUM_THREADS=1 $(BIN)/unspan bench all --budget smoke --out build/bench-smoke & first=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/unspan bench all --budget smoke --out build/bench-smoke && wait $$first
	$(BIN)/unspan bench report --out build/bench-smoke

clean: ## remove what make created
	rm -rf $(VENV) build dist
