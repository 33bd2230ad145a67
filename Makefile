# make demo         the first thing to try: two tasks in the embedded world, three methods, a report
# make test         lint, types, layers and quick tests: every change must pass them
# make test-slow    the tests of whole programs: guides, kills, several processes, forgeries, every baseline
# make test-lowest  the quick tests with the oldest versions of every dependency that pyproject.toml allows
# make test-browser the site in headless Chromium
# make test-ray     grids on a Ray cluster of this machine
# make kill         kills runs at 100 random moments, and compares what the same command then completes
# make fuzz         reads 10,000 mutated specs of each kind
# make flips        changes bytes of every file of a run, at 200 positions each
# make docs         the documentation site, in site-docs/
# make readme       the tables and images of README.md and docs/, from the leaderboard
# make dist         the wheel and the source distribution, in dist/
# make dist-check   installs the wheel into a new environment of each supported Python, and runs it there
# Each target installs what it needs, in .venv. PYTHON=/path/to/python3.12 chooses the interpreter.

.PHONY: demo test test-slow test-lowest test-browser test-ray kill fuzz flips docs readme dist dist-check venv clean
.DELETE_ON_ERROR:

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check
# Python compiles what it imports, which is much less than all that is installed.
INSTALL := $(PIP) --no-compile -e
LOWEST := .venv-lowest
# One thread for each process: on small tensors, more threads only wait for one another.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

demo: .venv/.core
	$(BIN)/ril-bench demo

test: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(PYTEST) -n 2 --dist worksteal -m "not slow"

test-slow: .venv/.dev
	$(PYTEST) -n 2 --dist worksteal -m slow

test-lowest: $(LOWEST)/.installed
	@echo "direct dependencies, as installed in $(LOWEST):"
	@$(LOWEST)/bin/python tests/packaging/versions.py
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 --dist worksteal -m "not slow" -W ignore

test-browser: .venv/.browser
	$(PYTEST) tests/reporting/test_browser.py

test-ray: .venv/.ray
	$(PYTEST) tests/studies/test_ray_cluster.py

kill: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.running.kills $(or $(KILLS),100)

fuzz: .venv/.dev
	RIL_BENCH_FUZZ=$(or $(EXAMPLES),10000) $(PYTEST) -s tests/config/test_fuzz.py

flips: .venv/.dev
	RIL_BENCH_FLIPS=$(or $(FLIPS),200) $(PYTEST) tests/running/test_repair.py -k flip

docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(PYTEST) tests/docs/test_site.py

readme: .venv/.dev
	$(BIN)/python docs/readme.py

dist: .venv/.dev
	rm -rf dist
	$(BIN)/python -m hatchling build

dist-check: dist
	@$(PIP) -q uv
	UV=$(BIN)/uv bash tests/packaging/try_wheel.sh dist/*.whl

# A stamp is touched last: an installation that was interrupted is repeated.
.venv/.core: pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory venv
	$(INSTALL) .
	@touch $@

.venv/.dev .venv/.docs .venv/.ray .venv/.browser: .venv/.%: .venv/.core
	$(INSTALL) '.[dev,$*]'
	@touch $@

# The oldest versions have wheels for the oldest Python only.
$(LOWEST)/.installed: pyproject.toml
	@$(LOWEST)/bin/python -m pip --version >/dev/null 2>&1 || \
		$(MAKE) --no-print-directory venv VENV=$(LOWEST) PYTHON=$(or $(PYTHON),python3.11)
	$(LOWEST)/bin/python -m pip install --disable-pip-version-check -q uv
	$(LOWEST)/bin/uv --system-certs pip install --python $(LOWEST)/bin/python --upgrade --resolution lowest-direct -e '.[test]'
	@touch $@

# A shim may start no Python, so the version of each candidate is checked.
VENV := .venv
venv:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
		if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
			echo "creating $(VENV) with $$python"; \
			exec $$python -m venv --clear $(VENV); \
		fi; \
	done; \
	echo 'RIL-Bench needs Python 3.11, 3.12 or 3.13; tried: $(or $(PYTHON),python3 python3.13 python3.12 python3.11)' >&2; \
	echo '  hint: install one, or name it: make PYTHON=/path/to/python3.12 ...' >&2; \
	exit 1

clean:
	rm -rf .venv .venv-lowest build dist site-docs .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
