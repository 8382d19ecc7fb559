# Two commands do everything: `make build` and `make test`. Both set up .venv first.
PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready
CLUSTERS := $(VENV)/.clusters
QUANTISED := $(VENV)/quantised
RUN := . $(VENV)/bin/activate &&
INSTALL := $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-compile

.PHONY: build test test-quantised thorough lint tables lock publish clusters

build: $(READY)
	$(RUN) snakemake

test: $(READY)
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder

# Adapters on a base in 4 and 8 bits. Beside .venv's packages: among them, peft would import it at every start.
test-quantised: $(QUANTISED)
	$(RUN) PYTHONPATH=$(QUANTISED) pytest tests/train/test_quantised.py

# The settings that `make test` leaves out for time: the rest of processes x ZeRO x kinds of training, memory, and kills.
thorough: $(READY)
	$(RUN) pytest -m thorough -n 2 --dist loadfile --no-loadscope-reorder

lint: $(READY)
	$(RUN) ruff check . && ruff format --check . && mypy && lint-imports && snakefmt --check Snakefile rules && snakemake --lint && belle dvc-yaml --check && python tools/readme_table.py --check && python tools/filter_figures.py --check

# Fails when the tables that this checkout builds are not the ones it carries.
tables: build
	git diff --exit-code -- results/tables data/eval dvc.yaml code.json

# A trial of trials/ in full, its result written to docs/trials: `make trial-mutations`, -agreement, -kills, -corruption, -slurm,
# -storm.
trial-%: $(READY)
	$(RUN) python -m trials.$* --out docs/trials/$*.md

# What the default targets are, and nothing older, for everybody who clones: into public/, a DVC remote that git carries.
publish: $(READY)
	rm -rf public/files && $(RUN) dvc push -r public && git add -A public

trial-slurm: $(CLUSTERS)

# requirements.lock from what is installed in .venv, for the packages that requirements.in names; so for the clusters'.
lock: $(CLUSTERS)
	$(RUN) python tools/lock.py requirements.in requirements.lock
	$(RUN) python tools/lock.py requirements-clusters.in requirements-clusters.lock

# What profiles/slurm and profiles/kubernetes need besides; every start of Snakemake is slower by a third with it.
clusters: $(CLUSTERS)

$(QUANTISED): pyproject.toml $(READY)
	$(INSTALL) --upgrade --target $@ "$$(grep -o 'bitsandbytes==[0-9.]*' pyproject.toml)"
	touch $@

$(CLUSTERS): requirements-clusters.lock $(READY)
	$(INSTALL) -r requirements-clusters.lock
	$(VENV)/bin/python -m pip check
	touch $@

$(READY): requirements.lock pyproject.toml
	command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here: install Python 3.11, or say make PYTHON=..." >&2; exit 1; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -r requirements.lock
	$(INSTALL) --no-build-isolation --editable .
	$(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true  # by all cores, where pip has one
	$(VENV)/bin/python -m pip check
	touch $@
