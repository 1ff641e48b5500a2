# `make demo` and `make test` are all there is to know; both install on their first run only.
PYTHON ?= python3
BIN := .venv/bin
# Where an image forbids Python to keep its bytecode, every process compiles torch anew, and the tests start many.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test lint docs fuzz clean

demo: .venv/.installed
	$(BIN)/maskwise demo --out demo

test: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: .venv/.installed
	$(BIN)/ruff check src tests benchmarks examples scripts
	$(BIN)/ruff format --check src tests benchmarks examples scripts
	$(BIN)/mypy

# The documentation's pages; a dead link or anchor within them fails.
docs: .venv/.installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[docs]"
	$(BIN)/python -m mkdocs build --strict

# A hundred thousand broken inputs; half an hour, for the night.
fuzz: .venv/.installed
	$(BIN)/python scripts/fuzz.py --inputs 100000

# uv comes first: it is what makes the install quick.
.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[dev]"
	touch $@

clean:
	rm -rf .venv demo explained
