# make demo    a newcomer's first look: the embedded sequence, two methods, a report
# make test    what continuous integration runs
# make readme  README.md's tables and image, from the leaderboard
# Each sets everything up from nothing, in .venv. PYTHON=/path/to/python3.12 chooses the interpreter.

.PHONY: demo test readme venv clean
.DELETE_ON_ERROR:

BIN := .venv/bin
INSTALLED := .venv/.installed

demo: $(INSTALLED)
	$(BIN)/ril-bench demo

# Two processes with one thread each: more threads on small tensors only wait for one another.
test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

readme: $(INSTALLED)
	$(BIN)/python docs/readme.py

# The stamp is touched last: an installation that was cut short is made again.
$(INSTALLED): pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(MAKE) --no-print-directory venv
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[test]'
	@touch $@

# A shim may be found that starts nothing, so each candidate is asked for its version.
venv:
	@for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
		if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
			echo "making .venv with $$python"; \
			exec $$python -m venv .venv; \
		fi; \
	done; \
	echo 'RIL-Bench needs Python 3.11, 3.12 or 3.13, and found none.' >&2; \
	echo '  hint: install one, or name it: make PYTHON=/path/to/python3.12 ...' >&2; \
	exit 1

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
