# One command each. PYTHON=python3.12 make course chooses another Python; ARGS="-k conv2d" goes to pytest.
BIN := .venv/bin
export PYTHON
# Whole notebooks: two at a time, the longest first (tests/units/conftest.py).
UNITS := tests/units
# Tests that measure times: nothing else may run beside them.
ALONE := tests/browser tests/redteam

.DEFAULT_GOAL := help
.PHONY: help setup course test demo build quality lint pins clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## prepare .venv, with what the tests need, and nothing else
	@scripts/setup.sh test

course: ## prepare .venv and open JupyterLab on the course
	@scripts/setup.sh course
	@$(BIN)/python -m autograder.cli lab course

test: ## prepare .venv and run the whole test suite
	@scripts/setup.sh test
	@failed=0; \
	$(BIN)/python -m pytest -n 2 $(UNITS:%=--ignore=%) $(ALONE:%=--ignore=%) $(ARGS) || failed=1; \
	[ $$failed = 0 ] || echo 'Tests failed above. The units follow, from top to bottom.'; \
	$(BIN)/python -m pytest -n 2 --dist worksteal $(UNITS) $(ARGS) || failed=1; \
	[ $$failed = 0 ] || echo 'Tests failed above. Those that measure times, and so run alone, follow.'; \
	$(BIN)/python -m pytest $(ALONE) $(ARGS) || failed=1; \
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

lint: ## show what ruff would change
	@scripts/setup.sh test
	@$(BIN)/python -m ruff check . && $(BIN)/python -m ruff format --check .

pins: ## write constraints.txt from the packages that are in .venv now
	@$(BIN)/python scripts/pins.py

clean: ## remove .venv and caches; notebooks, submissions and grades stay
	rm -rf .venv .pytest_cache .ruff_cache cvcourse.egg-info
	find autograder cvcourse scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
