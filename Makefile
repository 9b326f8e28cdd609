# Everything a person types. `make demo` and `make test` set up what they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
SECONDS ?= 60
MINUTES ?= 60
SEED ?= 1
# How many tests run at once: one more than two cores have, because those in Airflow often wait.
WORKERS ?= 3
PARALLEL := -n $(WORKERS) --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help install dist demo up down test test-fast fuzz bench-quality bench-recipe bench-peers bench-chances bench-events bench-newcomers bench-scale bench-refresh bench-snapshot bench-retrain bench-samples bench-serving bench-pages bench-baskets bench-uplift bench-gate gate-drill gate-shops
.PHONY: try-pythons check-gpu lint advisories licences format lock bench-ingest bench-quarantine chaos
.PHONY: docker-secrets docker-wheelhouse docker-smoke kubernetes-table

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## a .venv with the locked dependencies

LOCKS := requirements.lock requirements-local.lock requirements-dev.lock

# An environment that is there keeps its Python, so it is that one that has to be a supported one.
$(VENV)/.installed: pyproject.toml requirements-torch.lock $(LOCKS)
	@python=$$(test -x $(BIN)/python && echo $(BIN)/python || echo $(PYTHON)); \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null || { \
		echo "Python 3.11 to 3.14 is needed, and $$python is $$($$python --version 2>/dev/null || echo not there):" \
			"remove $(VENV) if it is there, and name another, such as make PYTHON=python3.13 $(or $(MAKECMDGOALS),install)." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# torch first, by itself; then what is locked by hashes, which names everything: an older pip takes an extra of a
	# locked library for one without a hash. Then the libraries that this build of torch names, if any. Last the project,
	# built by tools of the lock: pip would fetch others, of any version, without a hash.
	$(INSTALL) --no-deps --requirement requirements-torch.lock
	$(INSTALL) --no-deps --require-hashes $(LOCKS:%=--requirement %)
	$(INSTALL) --requirement requirements-torch.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

demo: install  ## the main job, end to end, on embedded servers
	$(BIN)/ncf-pipeline demo

up: install  ## start Postgres, Redis and Airflow and leave them running
	$(BIN)/ncf-pipeline up

down: install  ## stop what `make up` started
	$(BIN)/ncf-pipeline down

test: install  ## every test
	$(BIN)/python -m pytest $(PARALLEL) tests

test-fast: install  ## the quick tests: no training, no Airflow, no browser, and few publications
	$(BIN)/python -m pytest $(PARALLEL) -m "not trains and not airflow and not browser and not slow" tests

dist: install  ## the wheel and the sdist, into dist/
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist
	@ls dist

docker-secrets: install  ## docker/secrets/, a file each, where they are missing
	$(BIN)/python docker/make_secrets.py

docker-wheelhouse: install  ## every wheel of the lock into docker/wheelhouse/, for builds without a network
	$(BIN)/python dependencies/wheelhouse.py docker/wheelhouse

docker-smoke: install  ## build the images, and ingest and retrain a small shop in them; needs a Docker engine
	$(BIN)/python docker/smoke/smoke.py

kubernetes-table: install  ## render Airflow's Helm chart (CHART=airflow-1.22.0.tgz) into the table that tests use; needs helm
	$(BIN)/python docker/kubernetes/render.py $(CHART)

try-pythons: install  ## a small shop from file to lists on the oldest and the newest Python of this machine; ALL=1 for each
	$(BIN)/python dependencies/pythons.py --installed $(VENV) $(if $(ALL),--all --patience 1800)

fuzz: install  ## a minute of random and damaged files for the readers; SECONDS=3600 for longer
	PYTHONPATH=tests/support $(BIN)/python benchmarks/fuzz_readers.py --seconds $(SECONDS)

chaos: install  ## kills and faults in every stage, while four readers read, into docs/reliability.md; SEED=1, MINUTES=20
	PYTHONPATH=benchmarks $(BIN)/python -m chaos --seed $(SEED) --write docs/reliability.md \
		--minutes $(if $(filter file,$(origin MINUTES)),20,$(MINUTES))

bench-ingest: install  ## ingest's time and memory, into docs/ingest.md; DATA=the workbook or a folder: beside what none can do without
	$(if $(DATA),$(BIN)/python benchmarks/ingest.py files "$(DATA)")
	$(BIN)/python benchmarks/ingest.py page

bench-quarantine: install  ## two batches with 100,000 broken lines each
	$(BIN)/python benchmarks/ingest.py broken

bench-quality: install  ## how good the lists are, into docs/quality.md; DATA=the workbook
	# As the stages have it; once torch is loaded it is too late.
	$(BIN)/python benchmarks/quality.py --data "$(DATA)"

bench-recipe: install  ## whether recipe NEW is better than BASE: 16 cuts, 3 seeds, intervals; DATA=the workbook or SHOP=synthetic
	$(BIN)/python benchmarks/recipes.py --base "$(BASE)" --new "$(NEW)" \
		$(if $(filter synthetic,$(SHOP)),--synthetic,--data "$(DATA)")

bench-peers: install  ## a small grid of settings for each peer, on the development cuts; DATA=the workbook or SHOP=synthetic
	$(BIN)/python benchmarks/peers.py $(if $(filter synthetic,$(SHOP)),--synthetic,--data "$(DATA)")

bench-chances: install  ## whether chances and due days come true, month by month; DATA=the workbook or SHOP=synthetic
	$(BIN)/python benchmarks/chances.py $(if $(filter synthetic,$(SHOP)),--synthetic,--data "$(DATA)")

bench-events: install  ## what views, carts and wishes are worth on synthetic shops with known intent, and what noise costs
	$(BIN)/python benchmarks/planted.py

bench-newcomers: install  ## whether what a customer bought tells which new product they will buy; DATA=the workbook or SHOP=synthetic
	$(BIN)/python benchmarks/newcomers.py $(if $(filter synthetic,$(SHOP)),--synthetic,--data "$(DATA)")

bench-scale: install  ## time and memory of training and scoring, by customers, products and lines
	$(BIN)/python benchmarks/scale.py

check-gpu: install  ## training on a CUDA device beside the CPU: quality, time, memory; DATA=the workbook, MINUTES=60
	$(BIN)/python benchmarks/check_gpu.py --minutes $(MINUTES) $(if $(DATA),--workbook "$(DATA)")

bench-refresh: install  ## from a day's file to live lists, in Airflow; and only for those who changed; DATA=day files
	$(BIN)/python benchmarks/refresh.py airflow $(if $(DATA),--data "$(DATA)")
	$(BIN)/python benchmarks/refresh.py changed

bench-snapshot: install  ## time and memory of a snapshot; LINES="2000000 50000000"
	$(BIN)/python benchmarks/snapshot.py $(if $(LINES),--lines $(LINES))

bench-retrain: install  ## time and memory of each stage of a retrain; SIZE=customers,products,lines
	$(BIN)/python benchmarks/retrain.py $(if $(SIZE),--shop "$(SIZE)")

bench-samples: install  ## what training on a sample of the customers costs in quality; DATA=the workbook
	$(BIN)/python benchmarks/samples.py $(if $(DATA),--data "$(DATA)",--made-up 20000,2000,400000)

bench-serving: install  ## publishing and reading a million customers' lists, into docs/serving.md; SERVERS=programs of further list servers
	PYTHONPATH=tests/support $(BIN)/python benchmarks/serving.py $(foreach server,$(SERVERS),--server $(server))

bench-pages: install  ## how long each page takes in a shop of a million customers; CUSTOMERS=200000 for a smaller one
	PYTHONPATH=tests/support $(BIN)/python benchmarks/pages.py $(if $(CUSTOMERS),--customers $(CUSTOMERS))

bench-baskets: install  ## how often the client suggests the next product of a real basket; DATA=the workbook or day files
	$(BIN)/python benchmarks/baskets.py --data "$(DATA)"

bench-uplift: install  ## whether uplift is measured rightly: simulated experiments with known truth; DATA=day files or a workbook
	$(BIN)/python benchmarks/uplift.py $(if $(DATA),--data "$(DATA)")
	$(BIN)/python benchmarks/uplift_grid.py

bench-gate: install  ## how often the gate lets equal and worse candidates through, by size of the shop; simulated
	$(BIN)/python benchmarks/gate_power.py

gate-drill: install  ## eleven weekly retrains, five sabotaged: who served, and why not; DATA=day files or a workbook
	$(BIN)/python benchmarks/gate_drill.py $(if $(DATA),--data "$(DATA)")

gate-shops: install  ## what each default of the gate does in many shops, into docs/gate-shops.md; DATA=the workbook
	$(BIN)/python benchmarks/gate_shops.py $(if $(DATA),--data "$(DATA)")

lint: install  ## style, types, layers, SQL, known vulnerabilities and licences of the dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --processes 2 sql
	$(BIN)/python dependencies/audit.py
	$(BIN)/python dependencies/licences.py --check

advisories: install  ## renew the copy of the advisories that lint reads; FROM=a zip or a folder of OSV records, without a network
	$(BIN)/python dependencies/audit.py --renew $(FROM)

licences: install  ## write the licences of the locked dependencies into docs/licences.md
	$(BIN)/python dependencies/licences.py

format: install  ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix --processes 2 sql

lock: install  ## resolve the dependencies anew, for every supported Python; UPGRADE=1 for the newest versions
	$(BIN)/python dependencies/resolve.py $(if $(UPGRADE),--upgrade)
