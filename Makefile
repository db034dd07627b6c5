.DEFAULT_GOAL := help
UV ?= uv
RUN := $(UV) run --frozen --all-extras
PYTEST_ARGS ?=

.PHONY: help
help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: uv
uv:
	@command -v $(UV) >/dev/null || { echo "uv is missing: get it with  pip install uv" >&2; exit 1; }

.PHONY: demo up down test browser chaos soak node-smoke lint typecheck verify bench format
demo: uv ## make one real recording from nothing, check it, and clean up
	@$(RUN) cloudrec demo

up: uv ## start the embedded stack (Kubernetes, LiveKit, S3) or join the running one
	@$(RUN) cloudrec up

down: uv ## stop the embedded stack and leave nothing behind
	@$(RUN) cloudrec down

test: uv ## run every test: unit, media, cluster, end to end
	$(RUN) python -m pytest $(PYTEST_ARGS)

browser: uv ## real Chromium publishes to a room, and plays what was recorded (apt-get install chromium)
	$(RUN) python -m pytest tests/browser $(PYTEST_ARGS)

chaos: uv ## do the damage of docs/reliability.md to real recordings; rewrites its table
	CLOUDREC_CHAOS_TABLE=docs/reliability.md $(RUN) python -m pytest -s tests/chaos/long_*.py tests/chaos/test_short.py

node-smoke: uv ## recordings on a real kubelet (root): recorder killed, uploader killed, Pod evicted
	@$(RUN) python -m cloudrec_local.onenode -- python -m pytest tests/node -s $(PYTEST_ARGS)

soak: uv ## record a restless room for 30 minutes and see whether anything grows
	@$(RUN) python -m tests.soak --minutes 30

lint: uv ## check style and the architecture's import rules
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) lint-imports

typecheck: uv ## check types (mypy, strict)
	$(RUN) mypy

verify: uv ## check that generated files are up to date
	$(UV) lock --check
	$(RUN) python tools/generate.py --check

bench: uv ## print the project's figures, one JSON line each
	$(RUN) python -m benchmarks

format: uv ## rewrite the code in the house style and regenerate files
	$(RUN) ruff check --fix .
	$(RUN) ruff format .
	$(RUN) python tools/generate.py
