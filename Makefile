# `make demo` shows the model at work; `make test` runs the tests. Both build .venv on first use.
PYTHON ?= python3
BIN := .venv/bin
QUESTION = $(BIN)/llava-edge chat --bundle "$(DEMO_BUNDLE)" --image examples/emoji/demo.png --prompt

DEMO_BUNDLE = $$($(BIN)/python -c 'from llava_edge.core.bundle import demo_bundle; print(demo_bundle())')

.PHONY: demo test compat lint types docs clean

demo: .venv/demo
	base=$$($(BIN)/python examples/emoji/base.py --path) && \
	    $(BIN)/llava-edge export examples/emoji/checkpoint "$(DEMO_BUNDLE)" --mixed --block-size 64 --devices cpu \
	        --base "$$base" --force
	$(QUESTION) "What objects are in the picture?"
	$(QUESTION) "Describe the picture in detail."
	@echo
	@echo "Ask about a picture of your own:"
	@echo "    $(BIN)/llava-edge chat --image PICTURE"

# Two processes, each of which runs whole files, so that what a file's tests share is made once.
test: .venv/test
	$(BIN)/pytest -n 2 --dist loadfile

# Checkpoints of older libraries; these are installed to build/compat on first use.
compat: .venv/test
	$(BIN)/pytest tests/compat

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The checker needs the packages as they are installed, not as the folders lie.
types: .venv/test
	rm -rf build/typed build/lib
	$(BIN)/pip install --quiet --no-deps --target build/typed .
	$(BIN)/mypy

# The references of the command line and of the Python API are written from the code.
docs: .venv/test
	$(BIN)/python docs/generate.py

clean:
	rm -rf .venv build

.venv/pip:
	$(PYTHON) -m venv .venv
	touch $@

.venv/demo: .venv/pip pyproject.toml constraints.txt examples/emoji/base-requirements.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cpu,export]'
	$(BIN)/pip install --quiet --no-deps --requirement examples/emoji/base-requirements.txt
	touch $@

.venv/test: .venv/demo
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[calibrate,serve,browser,train,dev]'
	touch $@
