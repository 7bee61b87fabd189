# make demo   installs, ingests the demo runs that are missing, serves the dashboard
# make toy    trains the paper's toy heads (100 of them, minutes) and prints them beside the paper's figures
# make test   installs what the tests need and runs all of them
STORE ?= store
PORT  ?= 8501
BIN   := .venv/bin

.PHONY: demo toy test install install-test

demo: install
	@$(BIN)/python setup/port.py $(PORT)
	@$(BIN)/python -m ingest demo --store $(STORE)
	@echo "qkstore is at http://127.0.0.1:$(PORT)  (Ctrl+C ends it)"
	@QKSTORE=$(STORE) $(BIN)/python -m streamlit run app.py --server.port $(PORT)

toy: install
	@$(BIN)/python -m ingest toy-sweep --store $(STORE) --d-head 8 --grid 2-6
	@$(BIN)/python -m ingest toy-sweep --store $(STORE) --d-head 16 --grid 4,6,8,10,12
	@$(BIN)/python -m qkstore toy --store $(STORE)

test: install-test
	@$(BIN)/python -m pytest tests

install:
	@sh setup/install.sh requirements.txt

install-test:
	@sh setup/install.sh requirements-test.txt
