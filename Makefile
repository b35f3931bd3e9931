PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PORT   ?= 8080

.PHONY: run test explore check fix bench clean

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[test,mongo,hl7]'
	touch $@

run: $(VENV)/.ready  ## the demo hospital, loaded once into ./data, on http://127.0.0.1:8080
	@mkdir -p data
	@$(BIN)/osler demo --store sqlite:///data/osler.db --once --anchor today
	@$(BIN)/osler serve --store sqlite:///data/osler.db --port $(PORT)

test: check  ## everything: style, types, architecture, all tests
	OSLER_REQUIRE_MONGODB=1 $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

explore: $(VENV)/.ready  ## all tests, those of general rules with new examples
	OSLER_TEST_EXAMPLES=explore OSLER_REQUIRE_MONGODB=1 $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist *.egg-info
