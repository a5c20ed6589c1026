# make run     start the product on http://127.0.0.1:8000 (PORT=…, DATA_DIR=…)
# make test    all tests but those of make lab; TESTS=tests/editor or TESTS="-k revert" for some
# make check   linters, types, templates, the direction of imports, Django's own checks
# make format  lay out Python and templates
# make lab     what takes longer, as root on Debian: QEMU machines behind libvirt, drives in Ceph, crashes at every point;
#              TESTS=tests/contracts for some
# make bench   measure, and print the README's tables; as root with btrfs-progs, xfsprogs and Ceph, of all engines
# make lock    renew the pinned requirements from pyproject.toml
# make clean   remove .venv and caches; data stays

PORT     ?= 8000
DATA_DIR ?= var
PYTHON   ?= python3
TESTS    ?= tests

BIN := .venv/bin
export PORT

.PHONY: run test lab lab-machines check format bench lock clean
.DEFAULT_GOAL := run

run: .venv/.installed-run
	@.ci/system-packages qemu-img=qemu-utils qemu-storage-daemon=qemu-system-common fusermount3=fuse3 tgtd=tgt
	@DATA_DIR="$(DATA_DIR)" $(BIN)/python manage.py serve

FOR_TESTS := qemu-img=qemu-utils qemu-storage-daemon=qemu-system-common fusermount3=fuse3 tgtd=tgt \
  chromium-headless-shell=chromium-headless-shell initdb=postgresql iscsi-inq=libiscsi-bin \
  /usr/share/doc/qemu-block-extra=qemu-block-extra btrfs=btrfs-progs mkfs.xfs=xfsprogs

test: .venv/.installed-dev
	@.ci/system-packages $(FOR_TESTS)
	@.ci/test $(TESTS)

lab: lab-machines
	@.ci/system-packages $(FOR_TESTS)
	@.ci/lab $(TESTS)

lab-machines: .venv/.installed-lab .lab/kernel
	@.ci/system-packages qemu-system-x86_64=qemu-system-x86 libvirtd=libvirt-daemon \
	  virt-qemu-run=libvirt-daemon-driver-qemu busybox=busybox-static mke2fs=e2fsprogs \
	  qemu-storage-daemon=qemu-system-common fusermount3=fuse3 tgtd=tgt /usr/share/doc/qemu-block-extra=qemu-block-extra \
	  ceph-mon=ceph-mon ceph-osd=ceph-osd ceph=ceph-common /usr/share/doc/python3-rados=python3-rados \
	  /usr/share/doc/python3-rbd=python3-rbd /usr/share/doc/tgt-rbd=tgt-rbd

check: .venv/.installed-dev
	@.ci/check

format: .venv/.installed-dev
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .
	@find templates -name '*.html' -exec $(BIN)/djade --target-version 5.2 {} +

bench: .venv/.installed-dev
	@.ci/system-packages qemu-img=qemu-utils qemu-storage-daemon=qemu-system-common fusermount3=fuse3 tgtd=tgt \
	  chromium=chromium /usr/share/doc/qemu-block-extra=qemu-block-extra
	@$(BIN)/python -m tests.bench

lock: .venv/.installed-dev
	@for set in "requirements.txt" "requirements-dev.txt --extra dev --constraint requirements.txt"; do \
	  CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --no-config --upgrade --strip-extras \
	    --no-emit-options --no-annotate pyproject.toml --output-file $$set; done

clean:
	rm -rf .venv .lab .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# The stamps are newer than the requirements they were installed from.
.venv/.installed-run: requirements.txt | .venv/bin/python
	@echo "Installing the packages of $<"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.venv/.installed-dev: requirements-dev.txt requirements.txt | .venv/bin/python
	@echo "Installing the packages of $<"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@ .venv/.installed-run

# Compiled here, against the library that Debian's libvirtd comes with.
.venv/.installed-lab: tests/lab/requirements.txt .venv/.installed-dev
	@.ci/system-packages gcc=gcc pkg-config=pkg-config /usr/include/libvirt/libvirt.h=libvirt-dev \
	  $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h=python3-dev
	@echo "Installing the packages of $<"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

.lab/kernel:
	@.ci/lab-kernel $@

.venv/bin/python:
	@.ci/venv "$(PYTHON)"
