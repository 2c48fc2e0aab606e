# Everything runs in .venv, made here from the lock file.
PYTHON := $(shell for p in python3.12 python3.11 python3; do \
	if $$p -c 'import sys; sys.exit(not ((3,11) <= sys.version_info < (3,13)))' 2>/dev/null; then echo $$p; break; fi; done)
BIN := .venv/bin
# Compiled modules are kept: they halve the time that each of the stack's processes takes to start.
unexport PYTHONDONTWRITEBYTECODE
COMPILE := $(BIN)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-annotate

.PHONY: demo up test test-kafka chaos check format lock diagrams schemas bench clean

.venv/.ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Clarion needs Python 3.11 or 3.12 on the PATH"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep -o '^uv==[^ ]*' requirements.lock)"
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

demo: .venv/.ready
	@$(BIN)/clarion demo $(ARGS)

up: .venv/.ready
	@$(BIN)/clarion up $(ARGS)

# Parts run three at a time (they wait more than they work), each in processes of its own; see tests/suite.py. The long ones come first.
FLOWS = $(wildcard tests/flows/test_*.py)
TEST_JOBS ?= 3
comma := ,
one_part = $(subst $(subst ,, ),$(comma),$(strip $(wildcard $(1))))

test: .venv/.ready
	@$(BIN)/python -m tests.suite --jobs $(TEST_JOBS) tests/unit \
		$(call one_part,tests/contract/test_*.py) tests/contract/clickhouse tests/contract/api $(FLOWS) $(ARGS)

# The same suites on Apache Kafka and Redis, and those that break these; installs what is missing.
test-kafka: .venv/.ready
	@$(BIN)/python -m tests.servers.install
	@$(BIN)/python -m tests.suite --jobs 1 --servers=real tests/integration \
		$(call one_part,tests/contract/test_kafka_broker*.py tests/contract/test_state_*.py) \
		$(filter-out %_end_to_end.py,$(FLOWS)) $(ARGS)

# SEED and KILLS, when given to make, reach it through the environment.
chaos: .venv/.ready
	@$(BIN)/python -m tests.servers.install
	@$(BIN)/python -m tests.chaos $(ARGS)

check: .venv/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m tests.audit

format: .venv/.ready
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: .venv/.ready
	@$(BIN)/python -m tests.bench $(ARGS)

diagrams: .venv/.ready
	@$(BIN)/clarion flows draw docs/flows

schemas: .venv/.ready
	@$(BIN)/clarion schemas export

lock: .venv/.ready
	@$(COMPILE) --python-version 3.11 --all-extras pyproject.toml -o requirements.lock --upgrade
	@$(COMPILE) --python-version 3.12 --no-header -c requirements.lock pyproject.toml -o deploy/requirements.lock
	@$(COMPILE) --python-version 3.12 --no-header -c requirements.lock pyproject.toml deploy/sandbox.in -o deploy/requirements-sandbox.lock
	@$(COMPILE) --python-version 3.12 --no-header deploy/build.in -o deploy/requirements-build.lock

clean:
	rm -rf .venv .clarion
