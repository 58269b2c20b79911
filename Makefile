# What a person runs. Each target makes the virtual environment it needs; python3 (3.11 or newer), pip and make suffice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_ROOT := $(CURDIR)/demo-data
VQA_DATA_ROOT ?= $(DEMO_ROOT)
PORT ?= 3000
# The rooms whose tests need no training, no browser and, but for a few, no run of Dagster.
FAST := annotations corpora encode_grid labels tables unified
# One more than two cores: tests that wait for a browser, a server or a child leave the cores to the others.
PROCESSES := 3
FAST_WITHOUT := --ignore=vqa_assets_tests/tables/test_released_formats.py
export VQA_DATA_ROOT
export PYTHONUNBUFFERED := 1

.PHONY: help install demo ui pictures docs test test-fast campaign check bench clean
help:
	@echo "make demo     make a small corpus in demo-data, ingest it, train a head from it (under three minutes)"
	@echo "make ui       the Dagster web UI on 127.0.0.1:$(PORT), on \$$VQA_DATA_ROOT, else the demo's data"
	@echo "make pictures the pictures in docs/pictures (some eight minutes; needs chromium)"
	@echo "make docs     these pages as a site, in build/docs (under a minute; needs no network)"
	@echo "make test     all tests (about 15 minutes on two cores); VQA_TEST_ALL=1 leaves none out"
	@echo "make test-fast the tests of tables, scores and corpora, without trainings and browsers (under two minutes)"
	@echo "make campaign faults by the hundred, for up to an hour; its table goes into docs/reliability.md"
	@echo "make check    lint, types, imports, and the files in deploy/"
	@echo "make bench    the figures, side by side with their baselines"
	@echo "make install  only the virtual environment, in $(VENV) (two to five minutes)"

# A bare machine may lack ensurepip: the machine's pip installs into an environment that has none of its own.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "python 3.11 or newer is needed, found $$($(PYTHON) --version); set PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	@echo "installing into $(VENV) (two to five minutes the first time) ..."
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

install: $(STAMP)

demo: $(STAMP)
	@$(BIN)/python -m vqa_assets demo --root "$(DEMO_ROOT)"

ui: $(STAMP)
	@mkdir -p "$(VQA_DATA_ROOT)"
	@$(BIN)/python -m vqa_assets ui --port $(PORT)

pictures: $(STAMP)
	@$(BIN)/python -m vqa_assets_tests.shared.pictures

docs: $(STAMP)
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs -d build/doctrees . build/docs
	@echo "build/docs/index.html"

test: $(STAMP)
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal $(PYTEST_ARGS)

test-fast: $(STAMP)
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist worksteal $(addprefix vqa_assets_tests/,$(FAST)) $(FAST_WITHOUT) $(PYTEST_ARGS)

campaign: $(STAMP)
	@$(BIN)/python -m vqa_assets_tests.faults --write $(CAMPAIGN_ARGS)

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/hadolint deploy/Dockerfile
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	@$(BIN)/kubernetes-validate --quiet --strict deploy/kubernetes/guard.yaml deploy/kubernetes/data.yaml

bench: $(STAMP)
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) demo-data build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
