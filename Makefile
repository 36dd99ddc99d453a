# The four commands, the same for people and CI: run, test, check, bench. Each does all its own set-up on a machine
# that has Python 3.11 or newer (with pip and venv) and make.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
HOST ?= 127.0.0.1
PORT ?= 8000
export HOST PORT

.PHONY: run test check bench setup lock screenshots references clean

# Everything in one process on the first free try; PORT, HOST and BACKSTOP_DATA_DIR choose where.
run: setup
	@exec env -u PYTHONDONTWRITEBYTECODE $(PY) manage.py up

setup: $(VENV)/.run

# DATABASE=postgresql runs it on a PostgreSQL of its own, from Debian's package or from the wheel in requirements/test.txt.
# Byte-code is written even where the environment says not to: pytest rewrites every test file's assertions.
test: setup $(VENV)/.test
	env -u PYTHONDONTWRITEBYTECODE $(if $(filter postgresql,$(DATABASE)),$(PY) .ci/postgres.py -- )$(PY) -m pytest -n $${BACKSTOP_TEST_PROCESSES:-2} --dist loadfile --no-loadscope-reorder -p no:cacheprovider $(ARGS)

check: setup $(VENV)/.test $(VENV)/.check
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m mypy .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/djlint templates --lint --profile=jinja
	$(PY) requirements/verify.py

# Its servers are started as those of the tests.
bench: setup $(VENV)/.test
	$(PY) bench/run.py $(ARGS)

# A stamp per group, named by the lock it was installed from, so that a second run asks nobody anything.
$(VENV)/.run: requirements/run.txt requirements/install.py
	@$(PYTHON) requirements/install.py $(VENV) run
$(VENV)/.test: requirements/test.txt requirements/install.py
	@$(PYTHON) requirements/install.py $(VENV) test
$(VENV)/.check: requirements/check.txt requirements/install.py
	@$(PYTHON) requirements/install.py $(VENV) check

# Resolve pyproject.toml anew into requirements/*.txt (needs a package index).
lock: setup
	@$(PYTHON) requirements/install.py $(VENV) --lock

# The pictures of the guide and the README, made from a fresh demo; ARGS="--all <folder>" takes one of every page.
screenshots: setup $(VENV)/.test
	$(PY) docs/guide/pictures/take.py $(ARGS)

# The pictures that tests/web/test_visual.py compares with, taken anew: look at them before you commit them.
references: setup $(VENV)/.test
	TAKE_REFERENCES=1 $(PY) -m pytest -p no:cacheprovider -q tests/web/test_visual.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
