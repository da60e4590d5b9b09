# People and CI call the same targets. `make up` is the product, `make test` the proof.

.DEFAULT_GOAL := help
.PHONY: help install up test check verify bench soak lock clean

BIN := .venv/bin
ARGS ?=
ROUNDS ?= 10

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

install: ## Set up .venv from requirements.lock (PYTHON=… chooses the interpreter)
	@sh scripts/install

up: install ## Run the product on this machine; ARGS="--port 9000" passes options on
	@exec $(BIN)/sluice up $(ARGS)

test: check ## Check, then run every test but the long ones
	$(BIN)/python -m pytest -m "not verify" $(ARGS)

check: install ## Style, types and the direction of the imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

verify: install ## The long tests: full fights, faults, browsers
	$(BIN)/python -m pytest -m verify $(ARGS)

bench: install ## Measure this machine; ARGS="--scenario accepted" for one of them
	$(BIN)/sluice bench $(ARGS)

soak: install ## The full fight again and again; ROUNDS=50 says how often
	@set -e; for round in $$(seq $(ROUNDS)); do echo "round $$round of $(ROUNDS)"; \
	  $(BIN)/python -m pytest -q tests/integration/test_fight.py -k full $(ARGS); done

lock: ## Choose versions anew and write requirements.lock (needs uv)
	@sh scripts/lock

clean: ## Remove what was made here, but never data/
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
