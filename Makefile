# Granary's commands. Every recipe calls an entry point that you can also call by hand, from any directory.
#
# The shell finds the root, because make's own $(dir ...) would split the path at spaces.
export ROOT := $(shell cd "$$(dirname "$$(printf %s '$(subst ','\'',$(MAKEFILE_LIST))' | sed 's/^ //')")" && pwd)

# Each declared feed is a target, unless a target has its name already.
FEEDS := $(shell cd '$(subst ','\'',$(ROOT))' && \
	for file in $$(grep -ls 'loader: bin/ingest' dbt/models/staging/*/_*__sources.yml); do \
	feed=$$(basename "$$(dirname "$$file")"); grep -q "^$$feed:" Makefile || echo "$$feed"; done)

.DEFAULT_GOAL := all
.NOTPARALLEL:
.PHONY: all help setup up down extract ingest load dbt_deps dbt_run dbt_test test_data docs report expectations summary notebook api dashboard dagster dagster_run airflow airflow_run lint format test test_fast test_browser test_engines test_orchestration soak chaos psql reset clean
.PHONY: $(FEEDS)

all: setup ## Set up, load what is new, build and test what that affects, write docs and report, show a summary (the default; FORCE=1 builds all)
	@"$$ROOT/bin/ingest"
	@"$$ROOT/bin/update" $(if $(FORCE),--force)
	@"$$ROOT/scripts/summary.sh"

help: ## List the targets
	@sed -n 's/^\([a-z_]*\):[^#]*## \(.*\)/  \1|\2/p' "$$ROOT/Makefile" | awk -F'|' '{printf "%-21s %s\n", $$1, $$2}'
	@echo '  <feed>              Load and build a feed; if it has an extractor, fetch it first (ARGS="...")'

setup: ## Create .venv, install the requirements and the dbt packages (PYTHON=... names an interpreter)
	@"$$ROOT/scripts/setup.sh"
	@engine=$$("$$ROOT/scripts/in_venv.sh" granary.engines) && { [ "$$engine" = postgres ] || "$$ROOT/scripts/setup.sh" --engines; } && \
		{ [ "$$engine" != spark ] || "$$ROOT/scripts/setup.sh" --spark; }
	@"$$ROOT/bin/dbt" deps --once

up: setup ## Start the embedded PostgreSQL server (other targets start it when they need it)
	@"$$ROOT/bin/warehouse" start

down: ## Stop the embedded server; the data stays
	@"$$ROOT/bin/warehouse" stop

extract: setup ## Fetch a feed from its API into data/ (ARGS=--help lists the feeds and options)
	@"$$ROOT/bin/extract" $(ARGS)

ingest: setup ## Load what is new in data/ into the raw tables
	@"$$ROOT/bin/ingest"

load: ingest ## Same as ingest

$(FEEDS): setup # fetch the feed if it has an extractor, load and build it
	@[ ! -f "$$ROOT/scripts/granary/feeds/$@/extract.py" ] || "$$ROOT/bin/extract" $@ $(ARGS)
	@"$$ROOT/bin/ingest" $@
	@"$$ROOT/bin/dbt" --bar build --select group:$@ tag:ledger

dbt_deps: setup ## Fetch the dbt packages again
	@"$$ROOT/bin/dbt" deps

dbt_run: setup ## Build seeds and models, without the tests
	@"$$ROOT/bin/dbt" build --exclude-resource-type test unit_test

dbt_test: setup ## Run dbt's data tests and unit tests
	@"$$ROOT/bin/dbt" test

test_data: setup ## Run all data tests on all rows (after a new batch, `make` tests what that can have changed)
	@"$$ROOT/bin/dbt" --bar test --exclude-resource-type unit_test

docs: setup ## Write dbt's docs as a single page
	@"$$ROOT/bin/dbt" --bar docs generate --static
	@echo "docs: $$ROOT/dbt/target/static_index.html"

report: setup ## Write the quality report: tests, freshness, rows, money and rejects on a single page
	@"$$ROOT/scripts/in_venv.sh" granary.reports.quality

expectations: setup ## Check raw tables with Great Expectations, for feeds that have some (ARGS="--batch 58")
	@"$$ROOT/scripts/setup.sh" --quality
	@code=0; "$$ROOT/scripts/in_venv.sh" granary.reports.expectations $(ARGS) || code=$$?; \
		[ ! -f "$$ROOT/output/quality_report.html" ] || "$$ROOT/scripts/in_venv.sh" granary.reports.quality || code=$$?; exit $$code

summary: setup ## Show the rows of each feed, a glance at its marts, and what to try next
	@"$$ROOT/scripts/summary.sh"

notebook: setup ## Open four charts of the sample (docs/explore.ipynb) in JupyterLab
	@"$$ROOT/scripts/setup.sh" --notebook
	@cd "$$ROOT" && scripts/in_venv.sh jupyterlab --ip=127.0.0.1 $$([ "$$(id -u)" != 0 ] || echo --allow-root) docs/explore.ipynb

api: setup ## Serve the marts over HTTP at http://127.0.0.1:8000 (ARGS="--port 8080 --workers 4")
	@"$$ROOT/scripts/setup.sh" --api
	@"$$ROOT/bin/api" $(ARGS)

dashboard: setup ## Serve the dashboard at http://127.0.0.1:8501 (ARGS="--port 8600")
	@"$$ROOT/scripts/setup.sh" --dashboard
	@"$$ROOT/bin/dashboard" $(ARGS)

dagster: setup ## Serve Dagster, with the warehouse as assets, at http://127.0.0.1:3000 (ARGS="--port 3100")
	@"$$ROOT/scripts/setup.sh" --dagster
	@"$$ROOT/bin/dagster" ui $(ARGS)

dagster_run: setup ## Load and build everything as one run of Dagster, without its pages
	@"$$ROOT/scripts/setup.sh" --dagster
	@"$$ROOT/bin/dagster" run $(ARGS)

airflow: setup ## Serve Airflow, with the warehouse as a DAG, at http://127.0.0.1:8080 (ARGS="--port 8090")
	@"$$ROOT/scripts/setup.sh" --airflow
	@"$$ROOT/bin/airflow" serve $(ARGS)

airflow_run: setup ## Run the DAG once, without its pages (DATE=2026-02-03)
	@"$$ROOT/scripts/setup.sh" --airflow
	@"$$ROOT/bin/airflow" run $(DATE)

psql: setup ## Open psql on the warehouse
	@"$$ROOT/bin/warehouse" psql

lint: setup ## Check SQL (sqlfluff, what has changed; FORCE=1: all), Python (ruff) and shell scripts (bash -n)
	@"$$ROOT/scripts/setup.sh" --dev
	@cd "$$ROOT" && for script in bin/* scripts/*.sh; do bash -n "$$script" || exit 1; done
	@cd "$$ROOT" && scripts/in_venv.sh ruff check . && scripts/in_venv.sh ruff format --check .
	@"$$ROOT/scripts/in_venv.sh" granary.lint $(if $(FORCE),--force)

format: setup ## Format the code with ruff and sqlfluff
	@"$$ROOT/scripts/setup.sh" --dev
	@cd "$$ROOT" && scripts/in_venv.sh ruff check --fix . && scripts/in_venv.sh ruff format .
	@cd "$$ROOT" && bin/dbt --exec sqlfluff fix dbt

test: setup ## Run the tests, on a separate server (PYTEST_ADDOPTS="-k name" selects some)
	@"$$ROOT/scripts/setup.sh" --dev
	@cd "$$ROOT" && scripts/in_venv.sh pytest tests

test_fast: setup ## Run the tests that build nothing, in a minute or two: loader, parsing, rules, sample files
	@"$$ROOT/scripts/setup.sh" --dev
	@cd "$$ROOT" && scripts/in_venv.sh pytest tests -m fast

test_browser: setup ## Test the docs and the dashboard in Chromium
	@"$$ROOT/scripts/setup.sh" --browser
	@cd "$$ROOT" && scripts/in_venv.sh pytest tests -m browser -n0

test_engines: setup ## Test the same models on Spark (needs Java 17 or 21)
	@"$$ROOT/scripts/setup.sh" --dev
	@"$$ROOT/scripts/setup.sh" --spark
	@cd "$$ROOT" && scripts/in_venv.sh pytest tests -m engines

test_orchestration: setup ## Test the warehouse in Dagster and Airflow, with bad batches and killed runs
	@"$$ROOT/scripts/setup.sh" --dev
	@"$$ROOT/scripts/setup.sh" --dagster
	@"$$ROOT/scripts/setup.sh" --airflow
	@cd "$$ROOT" && scripts/in_venv.sh pytest tests -m orchestration

soak: setup ## Replay more than a thousand histories: incremental must equal a full refresh
	@"$$ROOT/scripts/setup.sh" --dev
	@cd "$$ROOT" && GRANARY_SOAK=1 scripts/in_venv.sh pytest tests -m soak --dist=load || [ $$? = 5 ] # 5: there are no soak tests

chaos: setup ## Kill loads, builds, resets and servers at random moments (GRANARY_KILLS=200): nothing may be lost or doubled
	@"$$ROOT/scripts/setup.sh" --dev
	@cd "$$ROOT" && scripts/in_venv.sh pytest tests -m chaos -n0 -s

reset: setup ## Drop the warehouse's schemas and load the initial data again
	@"$$ROOT/scripts/reset.sh"

clean: ## Stop the server and remove what `make` can create again, but not the data or bin/report's files
	@[ ! -x "$$ROOT/.venv/bin/python" ] || "$$ROOT/bin/warehouse" stop
	@cd "$$ROOT" && rm -rf .venv .venv-airflow .venv-spark dbt/dbt_packages dbt/logs dbt/target dbt/.user.yml logs .hypothesis .*_cache output/expectations output/quality_report.html
	@cd "$$ROOT" && find . -name __pycache__ -type d -prune -exec rm -rf {} +
