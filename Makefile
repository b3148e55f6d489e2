# The course needs Python 3.10 to 3.13, make and, the first time, the network.
#   make lab                          make test
#   make lab PYTHON=python3.12        make test ONLY=tests/test_arithmetic.py
.DEFAULT_GOAL := help
.PHONY: help environment lab test check refresh clean

IN := .venv/bin/python
export PYTHON
# The kernel of this environment, whatever other kernels the user has installed.
export JUPYTER_PREFER_ENV_PATH := 1

PORT ?= 8888
WORKERS ?= 2
ONLY ?= tests notebooks
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=120 \
         --nbval-sanitize-with=tests/nbval_sanitize.cfg

help:
	@echo "make lab        open the course in JupyterLab (the first time: build the environment)"
	@echo "make test       unit tests, every notebook compared with its stored outputs, browser tests"
	@echo "                make test ONLY=tests/test_arithmetic.py   or ONLY=notebooks/01-*.ipynb"
	@echo "make check      notebooks normalised? imports, size, dependency lists in order? (seconds)"
	@echo "make refresh    run and normalise every notebook; one: make refresh NB=notebooks/01-*.ipynb"
	@echo "make clean      remove the environment and caches; notebooks and my-progress stay"

environment:
	@python=$$(.ci/python) && "$$python" .ci/environment.py

lab: environment
	@$(IN) -m jupyterlab --ServerApp.ip=127.0.0.1 --ServerApp.port=$(PORT) \
	    --ServerApp.root_dir="$(CURDIR)/notebooks" \
	    --LabApp.default_url=/lab/tree/00-start-here.ipynb \
	    --LabApp.app_settings_dir="$(CURDIR)/.lab" \
	    $$([ "$$(id -u)" = 0 ] && echo --allow-root) $(LAB)

test: environment
	@$(IN) -m pytest -p tests.suite $(NBVAL) --numprocesses=$(WORKERS) --dist=loadscope $(ONLY)

check: environment
	@$(IN) -m tests.tools.notebooks check $(NB)
	@$(IN) -m pytest --quiet tests/test_house.py tests/test_project.py

refresh: environment
	@$(IN) -m tests.tools.notebooks refresh $(NB)

clean:
	rm -rf .venv .venv.lock build cnnlab.egg-info .pytest_cache .hypothesis
	find . -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
