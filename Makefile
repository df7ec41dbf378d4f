# riskd. `make` lists the targets; `make demo` and `make test` need nothing but Python 3.11 or newer.
SHELL := /bin/bash -o pipefail
.DEFAULT_GOAL := help
# Containers often set it, and then each of the many processes of the tests compiles riskd again.
unexport PYTHONDONTWRITEBYTECODE
# The distribution's own first: built with PGO and LTO, it does an assessment in a tenth less (docs/decisions/0025).
PYTHON ?= $(shell for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run-$(shell cksum <requirements/run.txt | cut -d" " -f1)
DEV := $(VENV)/.dev-$(shell cat requirements/run.txt requirements/dev.txt | cksum | cut -d" " -f1)
PROMETHEUS := $(shell command -v promtool >/dev/null && command -v prometheus >/dev/null || echo $(VENV)/prometheus)
GO := $(VENV)/.go-$(shell cksum <tests/e2e/clients/unpack_go.sh | cut -d" " -f1)
JAVA := $(VENV)/.java-$(shell cksum <tests/e2e/clients/unpack_java.sh | cut -d" " -f1)
COMPILE := uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --no-config \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --group

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(DEV) ## Install riskd, its tests and its tools into .venv, from hash-locked requirements

.PHONY: demo
demo: $(RUN) ## Start riskd with a real geo database, score real sign-ins over gRPC, print the answers
	@$(BIN)/riskd demo

.PHONY: train-demo
train-demo: $(DEV) ## Simulate two worlds, train a model, judge it, promote it, swap it into a running service
	@rm -rf build/train-demo && mkdir -p build
	@$(BIN)/riskd demo --train --out build/train-demo

.PHONY: test
test: lint servers ## Run every gate, then every test
	@echo "pytest"
	@$(BIN)/pytest -n 4 --dist worksteal --quiet

# Tests start servers of their own; Valkey comes with the requirements. Prometheus is unpacked and not installed: its
# package would start a service, and put a user and a web interface on the machine.
.PHONY: servers
servers: $(PROMETHEUS) $(GO) $(JAVA)
	@missing=$$(for program in redis-server curl; do command -v $$program >/dev/null || echo $$program; done); \
	test -z "$$missing" && exit; \
	echo "installing" $$missing; \
	if [ "$$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get install --quiet --quiet --yes --no-install-recommends $$missing >/dev/null || \
		{ apt-get update --quiet --quiet && apt-get install --quiet --quiet --yes --no-install-recommends $$missing >/dev/null; }; \
	fi; \
	for program in $$missing; do \
		command -v $$program >/dev/null || { echo "$$program is missing, and the tests need it (Debian: apt-get install $$program)"; exit 1; }; \
	done

$(VENV)/prometheus: | $(VENV)
	@echo "unpacking prometheus"
	@cd $(VENV) && { apt-get download --quiet --quiet prometheus 2>/dev/null || \
		{ apt-get update --quiet --quiet && apt-get download --quiet --quiet prometheus; }; } && \
	dpkg-deb --extract prometheus_*.deb prometheus && rm prometheus_*.deb || \
	{ echo "prometheus and promtool are missing, and the tests need them (https://prometheus.io/download)"; exit 1; }

$(GO): | $(VENV)
	@echo "unpacking Go"
	@tests/e2e/clients/unpack_go.sh $(VENV)/go || \
	{ echo "Go was not unpacked, and the tests of docs/client-go.md need it: the lines above say why"; exit 1; }
	@rm -f $(VENV)/.go-* && touch $@

$(JAVA): | $(VENV)
	@echo "unpacking Java"
	@tests/e2e/clients/unpack_java.sh $(VENV)/java || \
	{ echo "Java was not unpacked, and the tests of docs/client-java.md need it: the lines above say why"; exit 1; }
	@rm -f $(VENV)/.java-* && touch $@

.PHONY: lint
lint: $(DEV) ## Check style, types, architecture and the wire contract
	@echo "ruff";         $(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@echo "mypy";         $(BIN)/mypy --no-error-summary
	@echo "lint-imports"; $(BIN)/lint-imports >$(VENV)/lint-imports.txt || { cat $(VENV)/lint-imports.txt; exit 1; }
	@echo "buf";          $(BIN)/buf lint

.PHONY: format
format: $(DEV) ## Mend what can be mended without thought
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

.PHONY: proto
proto: $(DEV) ## Regenerate riskd/_proto from proto/
	@$(BIN)/python proto/generate.py

.PHONY: docs
docs: $(RUN) ## Regenerate the reference pages from the code
	@$(BIN)/riskd features --markdown >docs/features.md
	@$(BIN)/riskd policy variables --markdown >docs/rules.md
	@$(BIN)/riskd settings --markdown >docs/settings.md
	@$(BIN)/riskd history --markdown >docs/history.md
	@$(BIN)/riskd metrics --markdown >docs/metrics.md
	@$(BIN)/riskd errors --markdown >docs/errors.md
	@$(BIN)/riskd simulate --markdown >docs/simulation.md

.PHONY: dashboards
dashboards: $(DEV) ## Make the dashboards of Grafana, and their page, of deploy/grafana/dashboards.yaml
	@$(BIN)/python deploy/grafana/generate.py

.PHONY: panels
panels: $(DEV) servers ## Run every query of every dashboard under load, and count the series
	@$(BIN)/python -m tests.monitoring.panels

.PHONY: bench
bench: $(DEV) ## Print every figure that the docs name
	@$(BIN)/python -m benchmarks

.PHONY: flame
flame: $(DEV) ## Make a flame graph (SVG) of a worker under load; ARGS="--in-process" of an engine alone, "--native" with C
	@$(BIN)/python -m benchmarks.flame $(ARGS)

.PHONY: bench-large
bench-large: $(DEV) ## Compare ten thousand subjects with ten million (twenty minutes, 12 GB of disk)
	@$(BIN)/python -m benchmarks.scale --only times --subjects 10000 10000000

.PHONY: chaos
chaos: $(DEV) ## Kill processes 200 times under load, flood it, and load it for 10 minutes (20 minutes)
	@$(BIN)/python -m benchmarks.chaos

.PHONY: fuzz
fuzz: $(DEV) ## Fuzz all that reads bytes of others, for an hour, or SECONDS=N for each of seventeen targets
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),360)

.PHONY: soak
soak: $(DEV) ## Load it for an hour, or MINUTES=N, and say whether memory stays flat
	@$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),60)

.PHONY: licences
licences: $(DEV) ## List the licence of every package that riskd runs with
	@$(BIN)/pip-licenses --from=mixed --format=markdown \
		--packages $$(sed -n 's/^\([A-Za-z0-9._-]*\)==.*/\1/p' requirements/run.txt | sort -u)

.PHONY: sbom
sbom: $(DEV) ## Write build/sbom.json: what riskd runs with, its hashes, and what needs what (CycloneDX)
	@$(BIN)/python -m deploy.sbom build/sbom.json

.PHONY: lock
lock: ## Resolve the requirements again (needs uv, and npm of .venv)
	@$(COMPILE) build --output-file requirements/run.txt --upgrade
	@$(COMPILE) build --extra events --constraint requirements/run.txt --output-file requirements/events.txt --upgrade
	@$(COMPILE) dev --extra train --extra sign --extra events --extra trace --constraint requirements/run.txt --output-file requirements/dev.txt --upgrade
	@$(BIN)/npm --prefix tests/e2e/clients update --package-lock-only --silent

.PHONY: clean
clean: ## Remove what can be made again
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV):
	@test -n "$(PYTHON)" || { echo "riskd needs Python 3.11 or newer with venv (Debian: apt-get install python3-venv)"; exit 1; }
	@echo "creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# A count while pip works; what it says is shown if it fails.
define install
@echo "installing $(1)"
@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes --requirement $(1) 2>&1 | tee $(VENV)/pip.txt \
	| awk -v tty=$$(test -t 1 && echo 1) '/^Collecting/ { n++; if (tty) { printf "  %d\r", n; fflush() } } END { print "  " n " packages" }' \
	|| { cat $(VENV)/pip.txt; exit 1; }
endef

$(RUN): | $(VENV)
	$(call install,requirements/run.txt)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.run-* && touch $@

$(DEV): $(RUN)
	$(call install,requirements/dev.txt)
	@rm -f $(VENV)/.dev-* && touch $@
