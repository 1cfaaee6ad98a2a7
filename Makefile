# Everything is set up on first use: `make demo` and `make test` need python3 (3.11 or later) and make.
# The foreign tools that judge the tests are installed when run as root on Debian or Ubuntu.

VENV := .venv
RUN := $(VENV)/bin
ROM ?=
BENCH ?=
ROUNDS ?= 20
FUZZ ?=
FUZZ_TIME ?= 60
export PIP_DISABLE_PIP_VERSION_CHECK := 1

ifeq ($(CI),true)
export ROM_BUILDER_REQUIRE_TOOLS := 1
endif

.PHONY: help demo test lint docs bench bench-build fuzz schema clean judges
.DEFAULT_GOAL := help

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.installed ## Walk an example ROM from failing to compliant
	@rm -rf .cache/demo && mkdir -p .cache
	@XDG_DATA_HOME="$(CURDIR)/.cache/data" $(RUN)/rom-builder demo .cache/demo

test: lint judges ## Check style and types, run all tests
	$(RUN)/pytest -n auto

lint: $(VENV)/.installed-dev ## Check style and types
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

docs: $(VENV)/.installed-dev ## Make a site of the documentation, .cache/site/index.html
	@NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --quiet
	@echo "open .cache/site/index.html"

bench: $(VENV)/.installed-dev ## Measure check, apps, images, packages, reports and start-up (ROM=path, BENCH="--runs 5 --save")
	$(RUN)/python -m bench.check_rom $(ROM) $(BENCH)
	$(RUN)/python -m bench.read_apps $(ROM) $(BENCH)
	$(RUN)/python -m bench.file_systems $(ROM) $(BENCH)
	$(RUN)/python -m bench.inspect_ota $(BENCH)
	$(RUN)/python -m bench.reports $(BENCH)
	$(RUN)/python -m bench.help $(BENCH)

bench-build: $(VENV)/.installed-dev ## Measure build and verify of a package of more than 1 GB, made first (10 minutes, 4 GB of disk)
	$(RUN)/python -m bench.build_ota $(BENCH)
	$(RUN)/python -m bench.verify_ota $(BENCH)

fuzz: $(VENV)/.installed-dev ## Fuzz every reader (FUZZ_TIME=60 seconds each, FUZZ="zip axml"), then the property tests (ROUNDS=20)
	-$(RUN)/pip install --quiet --editable '.[fuzz]'
	$(RUN)/python -m fuzz.fuzz --seconds $(FUZZ_TIME) $(FUZZ)
	for round in $$(seq $(ROUNDS)); do \
	    $(RUN)/pytest -n auto -m hypothesis --hypothesis-profile long || exit 1; \
	done

schema: $(VENV)/.installed ## Write the JSON schemas of policies and profiles anew
	$(RUN)/rom-builder policy schema policy > policies/policy.schema.json
	$(RUN)/rom-builder policy schema profile > policies/profile.schema.json
	$(RUN)/rom-builder policy schema waivers > policies/waivers.schema.json

clean: ## Remove everything that was made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml .ci/venv
	.ci/venv $(VENV)
	$(RUN)/pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(RUN)/pip install --quiet --editable '.[dev]'
	@touch $@

judges:
	@.ci/judges
