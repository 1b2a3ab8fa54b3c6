# Two commands set everything up: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3

.PHONY: demo test format clean

demo: .venv/ready
	.venv/bin/dataforge synth --source infographics

test: .venv-dev/ready
	.venv-dev/bin/ruff check .
	.venv-dev/bin/ruff format --check .
	.venv-dev/bin/mypy
	.venv-dev/bin/pytest --numprocesses auto --dist worksteal

format: .venv-dev/ready
	.venv-dev/bin/ruff check --fix .
	.venv-dev/bin/ruff format .

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv-dev/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-dev
	.venv-dev/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,train]"
	touch $@

clean:
	rm -rf .venv .venv-dev build dist *.egg-info
