# Start with `make demo` or `make test`. Both set everything up first.

PYTHON ?= python3
VENV := .venv
STAGEWRIGHT := $(VENV)/bin/stagewright
DEMO := examples/demo
STAGES := examples/stages
CATALYST_DEMO := examples/catalyst
KERNEL := examples/kernel

.PHONY: help setup test-setup demo demo-stages demo-catalyst demo-kernel media-matrix netboot-matrix verity-matrix memory-matrix libvirt-matrix disk-matrix update-matrix install-matrix release-makespan farm-net farm-faults test test-fast test-gentoo test-install docs docs-check pictures tutorials deb fuzz lint bench namespace-bench clean

help:
	@echo "make demo         build a live system from ebuilds and boot it"
	@echo "make demo-stages  build stage1, stage2, stage3 and two stage4s, each inside the one before"
	@echo "make demo-kernel  compile two kernels and a module for each, and boot them (half an hour without KVM)"
	@echo "make demo-catalyst  build a release from Catalyst's specs, by a script that calls catalyst"
	@echo "make media-matrix boot every medium in every way (an hour without KVM) and write the table in docs/media.md"
	@echo "make netboot-matrix  boot from the network in every way (half an hour without KVM) and write the table in docs/netboot.md"
	@echo "make memory-matrix  boot from the network with too little memory (an hour without KVM) and write the table in docs/netboot.md"
	@echo "make verity-matrix  boot from the network with changed images (half an hour without KVM) and write the table in docs/netboot.md"
	@echo "make libvirt-matrix  start machines by libvirt (half an hour without KVM) and write the table in docs/boot.md"
	@echo "make update-matrix  update a system of two slots in every way (an hour without KVM) and write the table in docs/updates.md"
	@echo "make install-matrix  install in every way and start what was installed (an hour without KVM) and write the table in docs/install.md"
	@echo "make release-makespan RELENG=DIR  play Gentoo's releases on farms and write the table in docs/farm.md"
	@echo "make farm-net     build on farms of separate computers (an hour) and write the table in docs/farm.md"
	@echo "make farm-faults  break parts of a farm at random moments (half an hour) and write the table in docs/farm.md"
	@echo "make disk-matrix  start disks of every layout and format (an hour without KVM) and write the table in docs/disks.md"
	@echo "make test         all tests"
	@echo "make test-fast    the quick tests that need neither root nor a virtual machine"
	@echo "make test-gentoo TREE=PATH  check and build unmodified ebuilds of a real repository (half an hour)"
	@echo "make test-install  install wheel, Debian package and ebuild in bare systems (ten minutes)"
	@echo "make docs         the documentation as a site, in site/"
	@echo "make docs-check   open every page in Chromium: links, narrow screens, contrast (ten minutes)"
	@echo "make pictures     make the pictures in docs/images from real runs: build and boot (ten minutes)"
	@echo "make deb          a Debian package, in dist/"
	@echo "make tutorials    type the tutorials: build and boot (ten minutes)"
	@echo "make fuzz         hostile inputs for every reader of data that others wrote (half an hour)"
	@echo "make lint         ruff, mypy, and the checks of the language and of accesses to files"
	@echo "make bench        measure speed and fail if a limit is exceeded; with CATALYST=DIR and DECOMP=DIR also"
	@echo "                  Catalyst, from checkouts of it and of pyDeComp; with MKOSI=1 also mkosi 14 (Debian 12)"
	@echo "make namespace-bench  measure what the user namespace of builds costs (an hour)"
	@echo "make setup        install what is missing; the command is then $(STAGEWRIGHT)"
	@echo "make test-setup   also install what other architectures, tests and benchmarks need"

setup: $(VENV)/.done

test-setup: $(VENV)/.done-tests

$(VENV)/.done: pyproject.toml packages/apt.txt packages/emerge.txt packages/install
	packages/install
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.done-tests: pyproject.toml $(wildcard packages/*)
	packages/install --all
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(VENV)/.done $@

demo: setup
	$(STAGEWRIGHT) -C $(DEMO) build
	@echo
	@echo "The serial console of the booted machine:"
	@grep -aE 'live system is ready|^hello, ' $(DEMO)/out/iso-uefi/console.log
	@echo
	@echo "The image: $(DEMO)/out/$$(cd $(DEMO)/out && ls *.iso)"
	@echo "To use the machine: $(STAGEWRIGHT) -C $(DEMO) boot iso"

demo-stages: setup
	$(STAGEWRIGHT) -C $(STAGES) build desk stage3-tarball
	@echo
	@echo "To enter a stage: $(STAGEWRIGHT) -C $(STAGES) shell desk"
	@echo "More: $(STAGEWRIGHT) -C $(STAGES) build selfhost stage1-systemd-starts"

demo-kernel: setup
	$(STAGEWRIGHT) -C $(KERNEL) build
	@echo
	@echo "The consoles of the booted machines:"
	@grep -ahE '^6\.1\.8-|hello from' $(KERNEL)/out/gentoo/console.log $(KERNEL)/out/dist/console.log

demo-catalyst: export PATH := $(CURDIR)/$(CATALYST_DEMO)/out/bin:$(CURDIR)/$(VENV)/bin:$(PATH)
demo-catalyst: setup
	mkdir -p $(CATALYST_DEMO)/out/bin
	ln -sf $(CURDIR)/$(VENV)/bin/stagewright-catalyst $(CATALYST_DEMO)/out/bin/catalyst
	$(CATALYST_DEMO)/prepare $(CATALYST_DEMO)/out/storedir
	cd $(CATALYST_DEMO) && tools/build-release -c tools/catalyst-auto-demo.conf --catalyst-config out/storedir/catalyst.conf
	@echo
	@echo "Results:" && ls $(CATALYST_DEMO)/out/storedir/builds/demo/*.zst $(CATALYST_DEMO)/out/storedir/builds/demo/*.iso

media-matrix: test-setup
	$(VENV)/bin/python -m bench.matrix

netboot-matrix: test-setup
	$(VENV)/bin/python -m bench.netboot_matrix

verity-matrix: test-setup
	$(VENV)/bin/python -m bench.verity_matrix

memory-matrix: test-setup
	$(VENV)/bin/python -m bench.memory_matrix

libvirt-matrix: test-setup
	$(VENV)/bin/python -m bench.libvirt_matrix

update-matrix: test-setup
	$(VENV)/bin/python -m bench.update_matrix

install-matrix: test-setup
	$(VENV)/bin/python -m bench.install_matrix

release-makespan: test-setup
	$(VENV)/bin/python -m bench.release_makespan --releng "$(RELENG)"

farm-net: test-setup
	$(VENV)/bin/python -m bench.farm_matrix

farm-faults: test-setup
	$(VENV)/bin/python -m bench.farm_faults

disk-matrix: test-setup
	$(VENV)/bin/python -m bench.disk_matrix

# Python keeps compiled modules, also those of the tests; compiling them takes seconds in each process. An installed
# command has them, so measurements need them, too.
test test-fast bench: export PYTHONDONTWRITEBYTECODE :=

test: test-setup
	$(VENV)/bin/python -m tools.test_run --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 25 --durations-min 1

test-fast: test-setup
	$(VENV)/bin/python -m pytest tests/unit tests/fuzz -m "not real and not boot and not slow" --numprocesses 2 --dist worksteal --durations 10 --durations-min 1

test-gentoo: export STAGEWRIGHT_GENTOO_TREE := $(or $(TREE),$(STAGEWRIGHT_GENTOO_TREE))
test-gentoo: test-setup
	$(VENV)/bin/python -m pytest tests/gentoo --numprocesses 0 --capture=no -rs

test-install: export STAGEWRIGHT_TEST_INSTALL := 1
test-install: test-setup
	$(VENV)/bin/python -m pytest tests/install tests/integration/test_ebuild.py --numprocesses 0 -rs

fuzz: export STAGEWRIGHT_FUZZ := 3000
fuzz: test-setup
	$(VENV)/bin/python -m pytest tests/fuzz --numprocesses 2

# Every page of docs/, without anything from other places. site/index.html can be opened in any browser.
docs: export NO_MKDOCS_2_WARNING := 1
docs: test-setup
	$(VENV)/bin/python -m mkdocs --quiet build --strict
	@echo "The documentation: site/index.html"

# Needs Chromium and npm. The screenshots of some pages are written to site-check/.
docs-check: export STAGEWRIGHT_TEST_SITE := 1
docs-check: test-setup
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check playwright
	$(VENV)/bin/python -m pytest tests/browser --numprocesses 0 -rs

# Terminals and screens in docs/images, from real runs.
pictures: test-setup
	$(VENV)/bin/python -m tools.pictures

deb: test-setup
	$(VENV)/bin/python -m build
	packaging/debian/build

tutorials: export STAGEWRIGHT_TUTORIALS := 1
tutorials: test-setup
	$(VENV)/bin/python -m pytest tests/integration/test_tutorials.py --numprocesses 0 -rs

lint: test-setup
	$(VENV)/bin/ruff check && $(VENV)/bin/ruff format --check && $(VENV)/bin/mypy
	$(VENV)/bin/python -m tools.language && $(VENV)/bin/python -m tools.file_access

bench: test-setup
	$(VENV)/bin/python -m bench $(if $(CATALYST),--catalyst $(CATALYST) --decomp $(DECOMP)) $(if $(MKOSI),--mkosi)

namespace-bench: test-setup
	$(VENV)/bin/python -m bench.user_namespace

clean:
	rm -rf $(VENV) $(DEMO)/out $(STAGES)/out $(CATALYST_DEMO)/out $(CATALYST_DEMO)/seed/out $(KERNEL)/out
