# The course needs Python 3.10 to 3.14, make and, the first time, the network.
#   make lab                          make test
#   make lab PYTHON=python3.12        make test ONLY=tests/test_arithmetic.py
.DEFAULT_GOAL := help
.PHONY: help environment lab test test-long check refresh bench shots latency site slides clean

IN := .venv/bin/python
export PYTHON
# The kernel of this environment, whatever other kernels the user has installed.
export JUPYTER_PREFER_ENV_PATH := 1

PORT ?= 8888
WORKERS ?= 2
ONLY ?= tests notebooks
BENCH ?= start
# The time for a cell is a backstop: no result depends on how busy the machine is.
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=1200 \
         --nbval-sanitize-with=tests/nbval_sanitize.cfg
# A file, with its notebook's kernel or its browser, stays on one worker; tests/suite.py orders them.
SHARED := --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

help:
	@echo "make lab        open the course in JupyterLab (the first time: build the environment)"
	@echo "                make lab FRESH=05   begins chapter 05 again, and keeps what was there"
	@echo "make test       unit tests, every notebook compared with its stored outputs, browser tests"
	@echo "                make test ONLY=tests/test_arithmetic.py   or ONLY=notebooks/01-*.ipynb"
	@echo ""
	@echo "For those who work on the course:"
	@echo "make lab AT=notebooks   opens the notebooks themselves, not a learner's copies"
	@echo "make test-long  other front ends, the site and the README in a fresh clone, two longer trainings"
	@echo "make check      format, notebooks normalized, imports, dependency lists; sizes (seconds)"
	@echo "make refresh    run and normalize every notebook; one: make refresh NB=notebooks/01-*.ipynb"
	@echo "make bench      time the course beside its peers: make bench BENCH=start, trace or train,"
	@echo "                or chapters: seconds of every notebook"
	@echo "make shots      pictures of a notebook in shots/: make shots NB=notebooks/01-*.ipynb"
	@echo "make latency    from a key press to the changed picture, every explorer"
	@echo "make seeds      run notebooks with other random starts, print the claims that fell: hours"
	@echo "                make seeds NB=notebooks/03-*.ipynb RUNS=3"
	@echo "make site       the course as a web site, in build/site; needs Node.js with npm, and once the"
	@echo "                network: make site URL=its-address REPO=owner/name"
	@echo "make slides     slides of each chapter, in build/slides: its pictures and its questions"
	@echo "make clean      remove the environment and caches; my-course stays, and so do runs"

environment:
	@python=$$(.ci/python) && "$$python" .ci/environment.py

lab: environment
	@$(IN) .ci/lab.py --port "$(PORT)" $(if $(AT),--at "$(AT)") $(if $(FRESH),--fresh "$(FRESH)") $(LAB)

test: environment
	@$(IN) -m pytest -p tests.suite $(NBVAL) $(SHARED) $(ONLY)

test-long: environment
	@CNNLAB_LONG=1 $(IN) -m pytest -p tests.suite tests/long tests/browser/test_accessibility.py

check: environment
	@$(IN) -m ruff format --check --quiet . || \
	    { echo "Not in the house's format: $(IN) -m ruff format ."; exit 1; }
	@$(IN) -m ruff check --quiet .
	@$(IN) -m tests.tools.notebooks check $(NB)
	@$(IN) -m tests.tools.sizes
	@$(IN) -m pytest --quiet tests/test_house.py tests/test_project.py

refresh: environment
	@$(IN) -m tests.tools.notebooks refresh $(NB)

bench: environment
	@$(IN) -m tests.bench $(BENCH)

shots: environment
	@$(IN) -m tests.tools.shots $(or $(NB),$(error name a notebook: make shots NB=notebooks/01-*.ipynb)) shots

latency: environment
	@$(IN) -m tests.tools.latency

seeds: environment
	@$(IN) -m tests.tools.seeds $(or $(RUNS),10) $(NB)

site: environment
	@$(IN) -m tests.site $(if $(URL),--url "$(URL)") $(if $(REPO),--repo "$(REPO)")

slides: environment
	@$(IN) -m tests.site.slides

clean:
	rm -rf .venv .venv.next .venv.old .venv.lock .venv.log build cnnlab.egg-info .pytest_cache \
	    .hypothesis .ruff_cache shots
	find .ci cnnlab notebooks tests \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune \
	    -exec rm -rf {} +
