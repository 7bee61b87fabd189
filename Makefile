# make demo   installs, ingests the demo runs that are missing, serves the dashboard
# make test   installs what the tests need and runs all of them
STORE ?= store
PORT  ?= 8501
BIN   := .venv/bin

.PHONY: demo test install install-test

demo: install
	@$(BIN)/python setup/port.py $(PORT)
	@$(BIN)/python -m ingest demo --store $(STORE)
	@echo "qkstore is at http://127.0.0.1:$(PORT)  (Ctrl+C ends it)"
	@QKSTORE=$(STORE) $(BIN)/python -m streamlit run app.py --server.port $(PORT)

test: install-test
	@$(BIN)/python -m pytest tests

install:
	@sh setup/install.sh requirements.txt

install-test:
	@sh setup/install.sh requirements-test.txt
