"""pxeboot: the demo as a set for the network, with the same bits as its ISO; sets from ISOs; the documented way."""

from __future__ import annotations

import gzip
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.verity_matrix import Change, Trial
from integration.processes import file_digests, sha512
from integration.sites import NetSite
from integration.support import REPOSITORY, build, call, edit, plan, states
from stagewright.media.menus import problems_of, read_menu
from stagewright.netboot.methods import Method
from stagewright.testing.script import BootScript

pytestmark = pytest.mark.real

SHARED = ("boot/gentoo", "boot/gentoo.igz", "image.squashfs")


def extract(iso: Path, folder: Path) -> Path:
    folder.mkdir()
    command = ["xorriso", "-osirrox", "on", "-indev", iso, "-extract", "/", folder]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
    return folder


def test_the_iso_holds_the_same_bits(site: NetSite, tmp_path: Path) -> None:
    medium = extract(site.iso, tmp_path / "iso")
    assert {name: sha512(medium / name) for name in SHARED} == {name: sha512(site.set / name) for name in SHARED}


def test_parts_are_links_to_what_the_iso_is_made_of(site: NetSite) -> None:
    steps = plan("pxe", cwd=site.project, store=site.store)
    for name in SHARED:
        source = steps["live+boot.squashfs" if name == "image.squashfs" else "boot"]["key"]
        assert (site.set / name).samefile(site.store / "artifacts" / source / "tree" / name)


def test_every_file_has_a_digest(site: NetSite) -> None:
    listed = re.findall(
        r"^# SHA512 HASH\n(\w+)  (.+)$", (site.set / "DIGESTS").read_text(encoding="utf-8"), re.MULTILINE
    )
    found = file_digests(site.set)
    del found["DIGESTS"], found["image.squashfs.manifest.json"]
    assert {name: digest for digest, name in listed} == found


def test_the_same_set_twice(site: NetSite) -> None:
    before = file_digests(site.set)
    key = plan("pxe", cwd=site.project, store=site.store)["pxe"]["key"]
    shutil.rmtree(site.store / "artifacts" / key)
    shutil.rmtree(site.set)
    assert build("pxe", cwd=site.project, store=site.store).built() == {"pxe"}
    assert file_digests(site.set) == before


@pytest.mark.boot
def test_a_changed_image_is_reported_on_the_console(site: NetSite, tmp_path: Path) -> None:
    """The same image unchanged is started by the other tests of this set."""
    Trial(site.set, Method.HTTP, Change.DATA).run(tmp_path, seconds=600)
    console = (tmp_path / "machine/console.log").read_text(encoding="utf-8", errors="replace")
    assert re.search(r"the image was changed: data block \d+ does not match the boot arguments", console)


@pytest.mark.boot
def test_a_machine_with_too_little_memory_stops_with_a_sentence(site: NetSite, tmp_path: Path) -> None:
    """Its memory suffices to unpack the initramfs, but not to copy the image as well. Nothing is downloaded."""
    script = BootScript(expect=(r"stagewright: not enough memory: [^\r\n]*",), seconds=600)
    Trial(site.set, Method.HTTP, Change.NONE, memory=176).run(tmp_path, script=script)
    console = (tmp_path / "machine/console.log").read_text(encoding="utf-8", errors="replace")
    assert re.search(
        r"this machine has 176 MiB and needs (208|224|240) MiB for the method http, which copies the image", console
    )
    assert "fetching http" not in console


def test_a_set_for_another_address_touches_nothing_else(site: NetSite) -> None:
    assert states("pxe", "iso", "web", cwd=site.project, store=site.store)["pxe"] == "cached"
    edit(site.project, "[stages.pxe.kernel_arguments]", 'base_url = "http://server/x"\n[stages.pxe.kernel_arguments]')
    try:
        found = states("pxe", "iso", cwd=site.project, store=site.store)
        assert {node for node, state in found.items() if state == "build"} == {"pxe"}
    finally:
        edit(site.project, 'base_url = "http://server/x"\n[stages', "[stages")


def test_our_iso_gives_the_same_set(site: NetSite, tmp_path: Path) -> None:
    done = call(
        "netboot", "from-iso", str(site.iso), "-o", str(tmp_path / "set"), "--json", cwd=tmp_path, store=site.store
    )
    facts = json.loads(done.stdout)
    assert (facts["by"], set(facts["memory"])) == ("dracut", {"initrd", "http"})
    ours, theirs = file_digests(site.set), file_digests(tmp_path / "set")
    assert {name for name in theirs if ours.get(name) != theirs[name]} == set()
    assert set(ours) - set(theirs) == {"image.squashfs.manifest.json"}
    again = call(
        "netboot", "from-iso", str(site.iso), "-o", str(tmp_path / "set"), cwd=tmp_path, store=site.store, check=False
    )
    assert again.code == 2
    assert file_digests(tmp_path / "set") == theirs


OFFICIAL = """
set default=0
menuentry 'Boot LiveCD (kernel: gentoo)' --class gnu-linux --class os {
	linux /boot/gentoo dokeymap nodhcp ROOT
	initrd /boot/gentoo.igz
}
menuentry 'Boot LiveCD (kernel: gentoo) (cached)' --class gnu-linux --class os {
	linux /boot/gentoo dokeymap nodhcp ROOT CACHED
	initrd /boot/gentoo.igz
}
"""
BY_DRACUT = ("root=live:CDLABEL=Gentoo-amd64-x rd.live.dir=/ rd.live.squashimg=image.squashfs cdroot", "rd.live.ram=1")
BY_GENKERNEL = ("looptype=squashfs loop=/image.squashfs cdroot", "docache")


def official(site: NetSite, folder: Path, arguments: tuple[str, str], files: dict[str, str]) -> Path:
    """An ISO as Gentoo's are laid out, from the demo's kernel and image, and an initramfs of a few files."""
    tree = folder / "tree"
    (tree / "boot/grub").mkdir(parents=True)
    inside = folder / "initramfs"
    for name, text in files.items():
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_text(text, encoding="utf-8")
    names = "\n".join(str(path.relative_to(inside)) for path in sorted(inside.rglob("*")))
    command = ["busybox", "cpio", "-o", "-H", "newc"]
    packed = subprocess.run(command, cwd=inside, input=names.encode(), check=True, capture_output=True).stdout
    (tree / "boot/gentoo.igz").write_bytes(gzip.compress(packed))
    for name in ("boot/gentoo", "image.squashfs"):
        os.link(site.set / name, tree / name)
    text = OFFICIAL.replace("ROOT", arguments[0]).replace("CACHED", arguments[1])
    (tree / "boot/grub/grub.cfg").write_text(text, encoding="utf-8")
    iso = folder / "install-amd64-minimal.iso"
    command = [
        "xorriso",
        "-as",
        "mkisofs",
        "-quiet",
        "-iso-level",
        "3",
        "-r",
        "-volid",
        "Gentoo-amd64-x",
        "-o",
        iso,
        tree,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return iso


@pytest.mark.parametrize(
    ("arguments", "files", "by", "root"),
    [
        (BY_DRACUT, {"usr/lib/dracut/modules.txt": "base\ndmsquash-live\n"}, "dracut", "root=live:/image.squashfs.img"),
        (BY_GENKERNEL, {"etc/initrd.scripts": "#"}, "genkernel", "root=/dev/ram0"),
    ],
    ids=["dracut", "genkernel"],
)
def test_sets_are_made_from_official_media(
    site: NetSite, tmp_path: Path, arguments: tuple[str, str], files: dict[str, str], by: str, root: str
) -> None:
    """Their initramfs cannot fetch an image: the set says so and has other methods alone."""
    iso = official(site, tmp_path, arguments, files)
    done = call("netboot", "from-iso", str(iso), "-o", str(tmp_path / "set"), "--json", cwd=tmp_path, store=site.store)
    facts = json.loads(done.stdout)
    assert (facts["by"], list(facts["memory"]), len(facts["notes"])) == (by, ["initrd"], 1)
    script = (tmp_path / "set/boot.ipxe").read_text(encoding="utf-8")
    assert root in script
    assert "http:" not in "".join(line for line in script.splitlines() if line.startswith("kernel"))
    assert "dokeymap nodhcp" in script
    assert not re.search(r"CDLABEL|docache|rd\.live\.ram|squashimg", script)
    (line,) = read_menu("grub.cfg", (tmp_path / "set/grub.cfg").read_text(encoding="utf-8"))
    assert problems_of(line, "", ["boot/gentoo", "combined.igz", "image.squashfs.img"]) == []
    assert sha512(tmp_path / "set/image.squashfs") == sha512(site.set / "image.squashfs")


def test_broken_media_are_refused_and_leave_no_files(site: NetSite, tmp_path: Path) -> None:
    short = tmp_path / "short.iso"
    with site.iso.open("rb") as stream:
        short.write_bytes(stream.read(1 << 20))
    (tmp_path / "no.iso").write_bytes(b"no" * 5000)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "file").write_text("x", encoding="utf-8")
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-o", tmp_path / "empty.iso", empty], check=True, capture_output=True
    )
    before = {path.name for path in tmp_path.iterdir()}
    for name in ("short.iso", "no.iso", "empty.iso", "none.iso"):
        words = ("netboot", "from-iso", str(tmp_path / name), "-o", str(tmp_path / "set"))
        done = call(*words, cwd=tmp_path, store=site.store, check=False)
        assert done.code == 2, done
        assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.boot
def test_the_page_leads_to_a_running_machine_in_five_minutes(site: NetSite, tmp_path: Path) -> None:
    """The commands of docs/netboot.md run in a folder with the ISO alone; the machine has no UEFI."""
    page = (REPOSITORY / "docs" / "netboot.md").read_text(encoding="utf-8")
    section = page.partition("## In five minutes\n")[2].partition("\n## ")[0]
    commands = re.findall(r"^    (.+)$", section, re.MULTILINE)
    os.link(site.iso, tmp_path / "demo-iso-amd64-1.0.iso")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    started = time.monotonic()
    script = " && ".join(commands)
    with subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            line = next((line for line in server.stdout if "qemu-system" in line), "")
            assert line, "the server printed no command"
            wait_for_console(line.strip(), "the live system is ready", 300 - (time.monotonic() - started))
        finally:
            server.terminate()
            subprocess.run(["pkill", "-P", str(server.pid)], check=False)
    print(f"from an empty folder to a running machine: {time.monotonic() - started:.0f} s")
    assert time.monotonic() - started < 300


def wait_for_console(line: str, awaited: str, limit: float) -> None:
    """Run a command line until it prints a text."""
    said = ""
    with subprocess.Popen(["bash", "-c", f"exec {line}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as machine:
        try:
            assert machine.stdout
            end = time.monotonic() + limit
            while awaited not in said:
                ready, _, _ = select.select([machine.stdout], [], [], max(end - time.monotonic(), 0))
                data = os.read(machine.stdout.fileno(), 65536) if ready else b""
                assert data, f"not in time, or it ended: {said[-2000:]}"
                said += data.decode(errors="replace")
        finally:
            machine.kill()


IN_A_NETWORK = """
ip link set lo up && ip tuntap add t0 mode tap && ip addr add 10.9.0.1/24 dev t0 && ip link set t0 up || exit 9
"$0" -m stagewright netboot serve "$1" --proxy-dhcp --address 10.9.0.1 > said 2>&1 &
server=$!
for _ in $(seq 300); do grep -q 'at the prompt of iPXE' said && break; sleep 0.1; done
timeout 30 busybox tftp -g -r boot/gentoo -l by-tftp 10.9.0.1
pgrep dnsmasq --parent $server > dnsmasq.pid
kill $2 $server; wait $server; echo $? > code
for _ in $(seq 50); do kill -0 "$(cat dnsmasq.pid)" 2> /dev/null || exit 0; sleep 0.1; done
exit 8
"""


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="NOT TESTED: dnsmasq is not installed")
@pytest.mark.parametrize(("signal", "code"), [("-TERM", "0"), ("-KILL", "137")])
def test_dnsmasq_serves_with_stagewright_and_ends_with_it(
    site: NetSite, tmp_path: Path, signal: str, code: str
) -> None:
    command = ["unshare", "--net", "bash", "-c", IN_A_NETWORK, sys.executable, str(site.set), signal]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False)
    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert done.returncode == 0, (done, said)
    assert (tmp_path / "code").read_text(encoding="utf-8").strip() == code
    assert sha512(tmp_path / "by-tftp") == sha512(site.set / "boot/gentoo")
    assert "proxy on subnet 10.9.0.1" in said
