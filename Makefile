# The commands of a checkout. Each makes its own virtual environment first, one for each
# version of Python: make test PYTHON=python3.13

PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV := .venv-$(VERSION)
OUT := result/ptb
JOBS := 2
# Two workers, one BLAS thread each (tests/conftest.py), are faster than one with two.
PYTEST := $(VENV)/bin/python -m pytest -n 2
# What is annotated, is checked for None, too, and annotated to the end.
STRICT := --cache-dir .mypy_cache/strict --strict-optional --no-check-untyped-defs \
	--disallow-incomplete-defs --no-warn-unused-ignores

# What an installation is made of: with a C compiler, kernels are compiled.
BUILD := setup.py pyproject.toml $(wildcard dyrnn/kernels/native/*.[ch])

.PHONY: help ptb test docs release chainer-tests interchange lint check format bench clean

help:
	@echo "make ptb     train a language model on text, print its perplexity, plot, write"
	@echo "make test    run the tests"
	@echo "make docs    write the documentation as a site, docs/_build/html"
	@echo "make release build the wheel and the sdist, prove that they work, into dist/"
	@echo "make chainer-tests CHAINER=FOLDER"
	@echo "             run Chainer's own tests, from a checkout of Chainer v7.8.1"
	@echo "make interchange"
	@echo "             compare weights with PyTorch, Keras, Flax and Equinox as they are"
	@echo "make check   formatting, lint and types (make lint), then the tests, as in CI"
	@echo "make format  format the code"
	@echo "make bench   compare the speed with PyTorch's"
	@echo "make clean   remove the virtual environments and what was built"
	@echo "Each takes PYTHON=python3.13 and the like."

# A stamp says which extras an environment has; older than setup.py, they may have changed.
define environment
@command -v $(PYTHON) > /dev/null || \
	{ echo "There is no $(PYTHON). Name a Python that is there, 3.10 or newer:" \
	"make PYTHON=python3.12" >&2; exit 1; }
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	{ echo "dyrnn needs Python 3.10 or newer, but $(PYTHON) is $(VERSION)." \
	"Name another one: make PYTHON=python3.12" >&2; exit 1; }
@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
@echo "installing into $(1) ..."
@$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2)
@touch $@
endef

$(VENV)/.plot: $(BUILD)
	$(call environment,$(VENV),-e '.[plot]')

$(VENV)/.test: $(BUILD)
	$(call environment,$(VENV),-e '.[test]')

$(VENV)/.dev: $(BUILD)
	$(call environment,$(VENV),-e '.[dev]')

$(VENV)-docs/.docs: setup.py
	$(call environment,$(VENV)-docs,-e '.[docs]')

# PyTorch for CPUs alone: that of PyPI brings gigabytes for GPUs on Linux.
%/.torch:
	$(call environment,$*,torch==2.13.0 \
		--extra-index-url https://download.pytorch.org/whl/cpu)

$(VENV)-bench/.bench: $(BUILD) $(VENV)-bench/.torch
	$(call environment,$(VENV)-bench,-e .)

ptb: $(VENV)/.plot
	$(VENV)/bin/python examples/ptb/train_ptb.py --config quick --out $(OUT)
	@echo; echo "A sample:"
	$(VENV)/bin/python examples/ptb/generate.py --model $(OUT)/model.npz --no-unk \
		--prime "the meaning of" --length 100 --temperature 0.7

test: $(VENV)/.test
	$(VENV)/bin/python -m dyrnn.kernels
	$(PYTEST)

docs: $(VENV)-docs/.docs
	$(VENV)-docs/bin/python -m sphinx -q -W --keep-going -j auto docs docs/_build/html
	$(VENV)-docs/bin/python docs/check_links.py docs/_build/html
	@echo "the site begins at docs/_build/html/index.html"

# The wheel is made from the sdist, as an index would. The sdist's tests then run on what
# the wheel installed: its folder is the last on the path, and only tests are found there.
# They run in an empty one, since Python looks for modules where a program is started.
RELEASE := $(CURDIR)/$(VENV)-release/bin
TESTS := tests
release:
	rm -rf dist $(VENV)-release
	$(PYTHON) -m venv $(VENV)-release
	$(RELEASE)/python -m pip install --quiet --disable-pip-version-check build twine
	$(RELEASE)/python -m build --outdir dist . > $(VENV)-release/build.log
	$(RELEASE)/python -m twine check --strict dist/*
	$(RELEASE)/python -m pip install --quiet --disable-pip-version-check \
		"$$(ls dist/*.whl)[test]"
	folder=$$(mktemp -d) && trap 'rm -rf '$$folder EXIT && \
	mkdir $$folder/sdist $$folder/empty && \
	tar -xzf dist/*.tar.gz -C $$folder/sdist --strip-components 1 && \
	echo $$folder/sdist > $$(ls -d $(VENV)-release/lib/python*/site-packages)/sdist.pth && \
	cd $$folder/empty && $(RELEASE)/pytest -o pythonpath= -c ../sdist/pyproject.toml -n 2 \
		$(TESTS:%=../sdist/%)

# Two files at a time, in processes of their own: about seven minutes on two cores.
chainer-tests: $(VENV)/.test
	@test -n "$(CHAINER)" || { echo "Name a checkout of Chainer v7.8.1:" \
	"make chainer-tests CHAINER=FOLDER" >&2; exit 1; }
	$(VENV)/bin/python -m tests.chainer_suite.run $(CHAINER) --jobs $(JOBS)

# What other systems write is made anew, and dyrnn compared with it: 1.8 GB.
$(VENV)-interchange/.interchange: $(BUILD) $(VENV)-interchange/.torch
	$(call environment,$(VENV)-interchange,-e '.[keras]' pytest hypothesis safetensors \
		onnx onnxruntime jax flax equinox keras)

interchange: $(VENV)-interchange/.interchange
	for system in torch onnx keras flax equinox; do \
		$(VENV)-interchange/bin/python tests/golden/make_interchange.py $$system \
		result/interchange || exit 1; done
	INTERCHANGE_GOLDEN=result/interchange \
		$(VENV)-interchange/bin/python -m pytest tests/interchange

lint: $(VENV)/.dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy dyrnn tests
	$(VENV)/bin/mypy $(STRICT) dyrnn

check: lint
	$(PYTEST)

format: $(VENV)/.dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(VENV)-bench/.bench
	$(VENV)-bench/bin/python benchmarks/compare.py

clean:
	rm -rf $(VENV) $(VENV)-bench $(VENV)-docs $(VENV)-release $(VENV)-interchange build dist \
		*.egg-info docs/_build docs/api docs/examples result
