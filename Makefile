# Two commands from a fresh clone: `make run` (the default study and its report) and `make test`.
PY ?= python3
BIN := .venv/bin
# Several processes share the cores: threads that spin while they wait cost more than they compute.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: help run card report test test-slow check format benchmark status why clean-orphans migrate unlock clean

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# `make run MINE=my.yaml` runs the experiments of a file of yours, which is looked for here and where make was called;
# STUDY=finite_width runs config/studies/finite_width.yaml, PRESET=full its large size.
STUDY_ARGS = $(if $(STUDY),--configfile config/studies/$(STUDY).yaml --report results/$(STUDY).html) \
  $(if $(MINE),--mine "$(MINE)") $(if $(PRESET),--config preset=$(PRESET))

run: .venv/.done  ## build the environment, run the default study (another: STUDY=finite_width, yours: MINE=my.yaml), write its report
	$(BIN)/python workflow/run.py $(STUDY_ARGS) $(RUN_ARGS)

# From any folder: make -C path/to/ntk-atlas card NETWORK=my_net.py:build DATA=my_data.csv TARGET=price
card: .venv/.done  ## in which regime is one model? NETWORK=my_net.py:build DATA=my_data.csv TARGET=price (also TASK= WIDTH= DEPTH= N= MINUTES=)
	@$(BIN)/python workflow/card.py $(if $(NETWORK),--network "$(NETWORK)") $(if $(DATA),--data "$(DATA)") \
	  $(if $(TARGET),--target "$(TARGET)") $(if $(TASK),--task $(TASK)) $(if $(WIDTH),--width $(WIDTH)) \
	  $(if $(DEPTH),--depth $(DEPTH)) $(if $(INIT_SCALE),--init-scale $(INIT_SCALE)) $(if $(ACTIVATION),--activation "$(ACTIVATION)") \
	  $(if $(INITIAL_STATE),--initial-state "$(INITIAL_STATE)") $(if $(TRAINABLE),--trainable "$(TRAINABLE)") \
	  $(if $(N),--n-train $(N)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(NAME),--name $(NAME)) $(RUN_ARGS)

report: .venv/.done  ## write the report of what is finished (STUDY=, MINE=), run nothing
	$(BIN)/python workflow/run.py --report-only $(STUDY_ARGS)

# Tests beside each other take a thread each. There is one Slurm a machine: its file stays with one
# worker, which mostly waits.
test test-slow: export OMP_NUM_THREADS := 1
test: .venv/.done-dev  ## build the same environment and run the tests
	@echo "== running the tests (slow ones: make test-slow)"
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not slow" $(PYTEST_ARGS)

test-slow: .venv/.done-dev  ## the tests that take minutes
	$(BIN)/python -m pytest -q -n 3 --dist loadfile -m slow $(PYTEST_ARGS)

check: .venv/.done-dev  ## style, imports and types: ruff, lint-imports, mypy, snakefmt, snakemake --lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/snakemake --lint

format: .venv/.done-dev  ## write the style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/snakefmt Snakefile workflow/rules

benchmark: .venv/.done .venv-peers/.done  ## measure against neural-tangents and others (long; some rows: ROWS="1 6")
	$(BIN)/python benchmarks/run.py $(if $(ROWS),--rows "$(ROWS)") $(BENCHMARK_ARGS)

status: .venv/.done  ## how far the study is, in words; a run may be under way
	@$(BIN)/python workflow/status.py $(STUDY_ARGS)

why: .venv/.done  ## what would run now, and why, in words
	@$(BIN)/python workflow/why.py $(STUDY_ARGS)

clean-orphans: .venv/.done  ## list results that no config needs (more: CONFIGS="..."), ask, remove them
	@$(BIN)/python workflow/clean_orphans.py $(if $(CONFIGS),--configfile $(CONFIGS)) $(STUDY_ARGS) $(CLEAN_ARGS)

migrate: .venv/.done  ## FROM=<folder of the earlier version>: keep the finished units that this version computes the same
	@$(BIN)/python workflow/migrate.py --from $(FROM) $(STUDY_ARGS)

unlock: .venv/.done  ## after a kill: end orphaned workers and unlock, without running anything
	$(BIN)/python workflow/run.py --unlock-only

clean:  ## remove the environment (results stay)
	rm -rf .venv

.venv-peers/.done: benchmarks/requirements-peers.txt
	@echo "== building the environment of neural-tangents in .venv-peers (2 GB)"
	$(PY) -m venv .venv-peers
	.venv-peers/bin/python -m pip install -q -r $<
	@touch $@

# uv takes local wheels only from UV_FIND_LINKS; without uv, pip installs the same pins.
.venv/.done: requirements.lock pyproject.toml
	@echo "== building the environment in .venv (1.4 GB; 20 s to 5 min, depending on the network)"
	$(PY) -m venv .venv
	$(BIN)/python -m pip install -q uv==0.13.9 || echo "uv is not to be had: falling back to pip"
	@if $(BIN)/python -c "import uv" 2>/dev/null; then \
	  UV_FIND_LINKS="$(PIP_FIND_LINKS)" $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --no-deps -r requirements.lock $(UV_ARGS); \
	else $(BIN)/python -m pip install -q --no-deps -r requirements.lock; fi
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

.venv/.done-dev: .venv/.done requirements-dev.lock
	@echo "== adding the test tools"
	@if $(BIN)/python -c "import uv" 2>/dev/null; then \
	  UV_FIND_LINKS="$(PIP_FIND_LINKS)" $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --no-deps -r requirements-dev.lock; \
	else $(BIN)/python -m pip install -q --no-deps -r requirements-dev.lock; fi
	@touch $@
