# The commands one needs: `make demo` and `make test`. Both set everything up first.

PYTHON ?= python3
VENV := .venv
STAGEWRIGHT := $(VENV)/bin/stagewright
DEMO := examples/demo
STAGES := examples/stages

.PHONY: help setup demo demo-stages test test-fast lint bench clean

help:
	@echo "make demo         build a live system from ebuilds and boot it"
	@echo "make demo-stages  build stage1, stage2, stage3 and two stage4s, each inside the one before"
	@echo "make test         all tests"
	@echo "make test-fast    the tests that need no root and no virtual machine"
	@echo "make bench        measure speed, as ratios against a floor"
	@echo "make setup        install what is missing, leave the command at $(STAGEWRIGHT)"

setup: $(VENV)/.done

$(VENV)/.done: pyproject.toml packages/apt.txt packages/emerge.txt packages/install
	packages/install
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: setup
	$(STAGEWRIGHT) -C $(DEMO) build
	@echo
	@echo "What the booted machine said on its serial console:"
	@grep -aE 'live system is ready|^hello, ' $(DEMO)/out/iso-uefi/console.log
	@echo
	@echo "The image: $(DEMO)/out/$$(cd $(DEMO)/out && ls *.iso)"
	@echo "To use the machine yourself: $(STAGEWRIGHT) -C $(DEMO) boot iso"

demo-stages: setup
	$(STAGEWRIGHT) -C $(STAGES) build desk stage3-tarball
	@echo
	@echo "To look into a stage: $(STAGEWRIGHT) -C $(STAGES) shell desk"
	@echo "More: $(STAGEWRIGHT) -C $(STAGES) build selfhost stage1-systemd-starts"

test: setup
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile

test-fast: setup
	$(VENV)/bin/python -m pytest -m "not real and not boot"

lint: setup
	$(VENV)/bin/ruff check && $(VENV)/bin/ruff format --check && $(VENV)/bin/mypy

bench: setup
	$(VENV)/bin/python -m bench

clean:
	rm -rf $(VENV) $(DEMO)/out $(STAGES)/out
