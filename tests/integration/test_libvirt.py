"""libvirt and virt-install take what ``boot`` prints. `make libvirt-matrix` starts all kinds of images."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals import on_terminal

from bench.libvirt import Libvirt, lacking, libvirt
from integration.support import Warm, call

pytestmark = [pytest.mark.real, pytest.mark.skipif(bool(lacking()), reason=f"NOT TESTED: {lacking()}")]

LIMIT = 600.0
"""Seconds for the boot of an emulated machine on a busy computer."""


@pytest.fixture
def iso(warm: Warm) -> Iterator[Path]:
    """The demo's ISO in a folder that all users can enter."""
    folder = Path(tempfile.mkdtemp(prefix="stagewright-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    (source,) = warm.tree("iso").glob("*.iso")
    shutil.copyfile(source, folder / "demo.iso")
    yield folder / "demo.iso"
    shutil.rmtree(folder)


@pytest.fixture
def session() -> Iterator[Libvirt]:
    """The libvirt of an ordinary user."""
    with libvirt(system=False) as running:
        yield running


def printed(iso: Path, *options: str) -> str:
    return call("boot", str(iso), *options, cwd=iso.parent, store=iso.parent / "store").stdout.rstrip()


@pytest.mark.boot
def test_a_user_starts_the_domain_of_the_iso_to_its_login(iso: Path, session: Libvirt) -> None:
    """It is defined, started, talked to on its console, destroyed and undefined."""
    domain = iso.with_suffix(".xml")
    text = printed(iso, "--libvirt-xml")  # of root, so for the system: a user may not say relabel
    domain.write_text(text.replace('<seclabel model="dac" relabel="no" />', ""), encoding="utf-8")
    session.run("virsh", "define", "--validate", domain)
    with on_terminal(session.command(["virsh", "start", "demo", "--console"])) as user:
        user.wait_for(b"login: ", LIMIT)
        user.type(b"root\n")
        user.wait_for(b"root@demo:", LIMIT)
        user.type(b"hello there\n")
        user.wait_for(b"hello, there", LIMIT)
        assert session.state("demo") == "running"
        session.run("virsh", "destroy", "demo")
        user.end()
    assert session.state("demo") == "shut off"
    session.run("virsh", "undefine", "demo", "--nvram")
    assert session.state("demo") == ""


def test_virt_install_takes_the_line_and_libvirt_the_domain_with_everything(iso: Path, session: Libvirt) -> None:
    """virt-install finds the kernel and the initramfs on the ISO, and libosinfo knows the system."""
    line = printed(iso, "--virt-install")
    shown = session.run("sh", "-c", f"{line} --print-xml 1")
    assert "<kernel>" in shown and "<initrd>" in shown and "http://gentoo.org/gentoo/rolling" in shown
    domain = iso.with_suffix(".xml")
    text = printed(iso, "--libvirt-xml", "--network", "--graphic", "--append", "x=1", "--keep", str(iso.parent / "vm"))
    domain.write_text(text.replace('<seclabel model="dac" relabel="no" />', ""), encoding="utf-8")
    session.run("virsh", "define", "--validate", domain)
    assert session.state("demo") == "shut off"
    session.run("virsh", "undefine", "demo", "--nvram")
