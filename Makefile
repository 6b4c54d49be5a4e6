# Each command does its own set-up in .venv; Python 3.11 or later, pip and make are all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_STAMP := $(VENV)/.demo-ready
STAMP := $(VENV)/.ready
# Processes that the tests are shared out to, each with one thread.
WORKERS ?= 2

# The versions of Python that `make matrix` tries, where there is such an interpreter.
VERSIONS ?= 3.11 3.12 3.13

.PHONY: demo test matrix docs picture bench validate coverage distances efficiency soak models fitted lint types clean

# Three samplers of a diffusion model against held-out real digits; about a minute on one core after the set-up.
demo: $(DEMO_STAMP)
	$(BIN)/mcgen demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --no-skips -q -n $(WORKERS) --dist worksteal

# The core alone under each version of Python: an environment for each, without torch; long studies are left out.
matrix:
	@for version in $(VERSIONS); do \
	    if ! python$$version -c "" 2>/dev/null; then echo "python$$version: none here, left out"; continue; fi; \
	    echo "python$$version"; \
	    python$$version -m venv .venv-$$version && \
	    .venv-$$version/bin/python -m pip install -q -c constraints.txt -e . pytest pytest-xdist hypothesis && \
	    OMP_NUM_THREADS=1 .venv-$$version/bin/python -m pytest -q -n $(WORKERS) -m "not study" || exit 1; \
	done

# It runs all examples, each with one thread.
docs: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

# The picture of README and of the first page, from the example that the gallery shows.
picture: $(STAMP)
	$(BIN)/python -c "import runpy; runpy.run_path('examples/gallery/plot_same_runs.py')['figure'].savefig('docs/images/same-runs.png')"

bench: $(STAMP)
	$(BIN)/python -m mcgen.validation benchmarks

# The whole of what is promised, into docs/validation: up to an hour on two cores. In several minutes: mcgen validate.
validate: coverage
	$(BIN)/mcgen validate --full --page docs/validation/promises.md
	$(BIN)/mcgen validate --only differences --page docs/how-to/two-models.md

coverage: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m mcgen.validation coverage

# Coverage of FID, KID and energy distances, into docs/validation/distances.md; an hour.
distances: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m mcgen.validation distances

# What is not measured yet; an hour or two for all.
efficiency: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m mcgen.validation efficiency

# Runs killed, damaged and starved at random moments, about ten minutes; stops by itself.
soak: $(STAMP)
	OMP_NUM_THREADS=1 timeout 3600 $(BIN)/python -m mcgen.validation soak

models: $(STAMP)
	$(BIN)/python -m mcgen.validation models

# How closely fitted samplers follow, into docs/how-to/adapters.md; a quarter of an hour.
fitted: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m mcgen.validation fitted

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell --dictionary - --dictionary docs/vocabulary.txt

# The package, and then what users write with it, which must need no cast and no ignored line.
types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy --strict tests/typed/user_script.py $(wildcard examples/*.py examples/*/*.py)

# torch first and pinned: a range would let pip choose a build with several GB of GPU libraries.
$(DEMO_STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt "setuptools>=77" torch
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[torch,plot]"
	touch $@

$(STAMP): $(DEMO_STAMP)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev,docs]"
	# Samplers to test against; what they ask for would bring another torch.
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps azula torchcfm torchdiffeq torchsde trampoline boltons POT
	# The usual packages for distances of features, to compare numbers with; they ask for torchvision.
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps pytorch-fid torch-fidelity clean-fid
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-3.* build dist *.egg-info demo docs/_build
