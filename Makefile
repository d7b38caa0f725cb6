# One command each. PYTHON=python3.12 make course chooses another Python; ARGS="-k conv2d" goes to pytest.
BIN := .venv/bin
export PYTHON
# Whole notebooks: two at a time, the longest first (tests/units/conftest.py). In full run the units whose
# sources changed since their run.json and one more; CVCOURSE_DRAWN=08 names that one.
UNITS := tests/units
# Tests that measure times: nothing else may run beside them.
ALONE := tests/browser tests/redteam
# Tests that need another Python, a fresh environment, npm or a hub: not in `make test`.
MACHINES := tests/machines

.DEFAULT_GOAL := help
.PHONY: help setup course test test-full test-machines findings demo build quality lint pins clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## prepare .venv, with what the tests need, and nothing else
	@scripts/setup.sh test

course: ## prepare .venv and open JupyterLab on the course
	@scripts/setup.sh course
	@$(BIN)/python -m autograder.cli lab course

test: ## prepare .venv and run the test suite
	@scripts/setup.sh test
	@failed=0; \
	$(BIN)/python -m pytest -n 2 $(patsubst %,--ignore=%,$(UNITS) $(ALONE) $(MACHINES)) $(ARGS) || failed=1; \
	[ $$failed = 0 ] || echo 'Tests failed above. The units follow, from top to bottom.'; \
	$(BIN)/python -m pytest -n 2 --dist worksteal $(UNITS) $(ARGS) || failed=1; \
	[ $$failed = 0 ] || echo 'Tests failed above. Those that measure times, and so run alone, follow.'; \
	$(BIN)/python -m pytest $(ALONE) $(ARGS) || failed=1; \
	exit $$failed

test-full: ## the same, with every unit's notebook run in full
	@CVCOURSE_FULL=1 $(MAKE) --no-print-directory test

test-machines: ## run the tests that need more than .venv: fresh environments, another Python
	@scripts/setup.sh test
	@$(BIN)/python -m pytest -n 2 $(MACHINES) $(ARGS)

findings: ## show again what was found in public packages: findings/*.sh download and try them
	@failed=0; \
	for script in findings/*.sh; do \
		[ ! -e "$$script" ] || { echo "$$script"; "$$script"; } || failed=1; \
	done; \
	exit $$failed

demo: ## play a class through one unit: release, submissions, grading in the sandbox, feedback
	@scripts/setup.sh course
	@$(BIN)/python -m autograder.demo

build: ## write the paired notebooks, the answer keys and course/ from solutions/
	@scripts/setup.sh course
	@$(BIN)/python -m autograder.cli build

quality: ## put every check to the test and print its scores
	@scripts/setup.sh course
	@$(BIN)/python -m autograder.cli quality

lint: ## show what ruff would change and what mypy finds in the types
	@scripts/setup.sh test
	@$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check . && $(BIN)/python -m mypy

pins: ## write constraints.txt from the packages that are in .venv now
	@$(BIN)/python scripts/pins.py

clean: ## remove .venv and caches; notebooks, submissions and grades stay
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache cvcourse.egg-info
	find autograder cvcourse scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
