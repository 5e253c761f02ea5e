.DEFAULT_GOAL := help
.PHONY: help setup serve test check format bench attack attack-mutants races soak fuzz lock vendor clean lanes pictures

BIN := .venv/bin
# The tests' files live in memory where the machine has it: thousands of databases are made, and none has to outlast a power cut.
IN_MEMORY := $(if $(wildcard /dev/shm/.),TMPDIR=/dev/shm)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## leave a working .venv/bin/ostiary
	@scripts/setup

serve: setup ## set up what is missing, then serve on 127.0.0.1:3080
	@exec $(BIN)/ostiary serve

test: ## set up what is missing, real services too, then run the tests (PYTEST_ARGS="-k sessions")
	@scripts/setup test
	$(IN_MEMORY) $(BIN)/pytest -n 2 -q $(PYTEST_ARGS)

check: ## lint, formatting, types, import rules
	@scripts/setup check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: ## sort, fix and format
	@scripts/setup check
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: ## measure; prints a table and writes bench/results/
	@scripts/setup check
	$(BIN)/python -m bench $(BENCH_ARGS)

attack: ## run the catalogue of attacks in long form, against servers that it starts itself
	@scripts/setup test
	ATTACK_ROUNDS=20 $(BIN)/pytest -n 2 --dist worksteal -q tests/attack tests/federation $(PYTEST_ARGS)

attack-mutants: ## switch each guard off in turn, and see that some test notices
	@scripts/setup test
	$(BIN)/python -m tests.attack.mutants $(MUTANTS_ARGS)

races: ## run every race of the catalogue 1,000 times, 16 to 64 callers, on one process and on four (RACES=50)
	@scripts/setup test
	RACE_ROUNDS=$(or $(RACES),1000) $(BIN)/pytest -n 2 --dist loadgroup -q tests/attack/test_rac.py $(PYTEST_ARGS)

soak: ## live thousands of lives of accounts against a model, on both wires (LIVES=200)
	@scripts/setup test
	$(IN_MEMORY) SOAKED_LIVES=$(or $(LIVES),2000) $(BIN)/pytest -n 2 -q tests/attack/test_lives.py $(PYTEST_ARGS)

fuzz: ## send bent requests and bent bytes, and report what came of it (N=1000000 requests, S=600 seconds for each parser)
	@scripts/setup test
	$(IN_MEMORY) $(BIN)/python -m tests.fuzz --requests $(or $(N),20000) --seconds $(or $(S),20) $(FUZZ_ARGS)

lanes: ## compare the hashing lanes with the bcrypt package 100,000 times, under AddressSanitizer and UBSan (LANES_ARGS="--count 2000")
	@scripts/setup check
	$(BIN)/python tests/crypto/compare_lanes.py $(LANES_ARGS)

pictures: ## photograph the pages on the way of the browser journeys, into docs/pictures/
	@scripts/setup test
	rm -f docs/pictures/*.png
	PICTURES=docs/pictures $(BIN)/pytest -q tests/web/test_journeys.py tests/web/test_key_journeys.py -k "signs_up or phone or owner or life"

lock: ## write the lock files anew, with the newest versions that fit (hashes, no addresses)
	@scripts/setup check
	$(LOCK) --upgrade --group build -o requirements.txt pyproject.toml
	$(LOCK) --upgrade --group build --group dev -c requirements.txt -o requirements-dev.txt pyproject.toml
	for folder in tests/node scripts/vendored; do (cd $$folder && npm update --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund) || exit 1; done
	$(BIN)/python -c "import json, pathlib; paths = [pathlib.Path(f'{folder}/package-lock.json') for folder in ('tests/node', 'scripts/vendored')]; \
	locks = [json.loads(path.read_text()) for path in paths]; [package.pop('funding', None) for lock in locks for package in lock['packages'].values()]; \
	[path.write_text(json.dumps(lock, indent=2) + '\n') for path, lock in zip(paths, locks)]"

vendor: ## bundle anew what the pages compute keys with (after `make lock`, or a change in scripts/vendored)
	@scripts/setup test
	node scripts/vendored/build.mjs

clean: ## remove what the other targets made, except data
	rm -rf .venv tests/node/node_modules scripts/vendored/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist src/*.egg-info src/ostiary/crypto/*.so
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
