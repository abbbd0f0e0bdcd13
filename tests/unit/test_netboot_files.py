"""Files of sets: the combined file, kernel arguments, scripts and menus, budgets, digests."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from roots import cpio

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.media.arguments import InitramfsKind, KernelArguments
from stagewright.media.bootmenu.entry import FoundEntry
from stagewright.media.payload import IMAGE, INITRAMFS, KERNEL
from stagewright.netboot.combined import write_combined
from stagewright.netboot.dnsmasq import configuration
from stagewright.netboot.from_iso import _options, _title
from stagewright.netboot.methods import COMBINED, CommandLine, Method, tftp_limits
from stagewright.netboot.writer import NetSet, NetSetParts, choose_entry, dnsmasq_configuration, methods_of, write_set

EPOCH = 1_700_000_000
MIB = 1 << 20


@pytest.fixture
def parts(tmp_path: Path) -> NetSetParts:
    sources = tmp_path / "sources"
    sources.mkdir()
    for name, data in {"kernel": b"K" * 999, "initramfs": gzip.compress(cpio({"init": b"x" * 101}))}.items():
        (sources / name).write_bytes(data)
    (sources / "image").write_bytes(bytes(range(256)) * 17 + b"end")
    return NetSetParts(sources / "kernel", sources / "initramfs", sources / "image")


def a_set(**changes: object) -> NetSet:
    command = CommandLine(InitramfsKind.DRACUT, InitramfsKind.DRACUT.for_network(KernelArguments(console=["ttyS0"])))
    settings = {"title": "demo", "command": command, "methods": [Method.INITRD, Method.HTTP]}
    return NetSet(**{**settings, **changes})  # type: ignore[arg-type]


def folder_of(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("rest", range(4))
def test_the_image_in_the_combined_file_is_where_the_kernel_looks(tmp_path: Path, rest: int) -> None:
    base = cpio({"init": b"x"})
    base = base + bytes((rest - len(base)) % 4)  # the kernel allows zeros between archives
    (tmp_path / "base").write_bytes(base)
    (tmp_path / "image").write_bytes(b"image" * 1001)
    write_combined(tmp_path / "base", tmp_path / "image", tmp_path / "both")
    both = (tmp_path / "both").read_bytes()
    start = both.index(b"070701", len(base))
    assert start % 4 == 0
    assert both[: len(base)] == base
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    subprocess.run(["busybox", "cpio", "-i"], cwd=unpacked, input=both[start:], check=True, capture_output=True)
    assert [path.name for path in unpacked.iterdir()] == ["image.squashfs.img"]
    assert (unpacked / "image.squashfs.img").read_bytes() == b"image" * 1001


def test_the_combined_file_is_reproducible(tmp_path: Path, parts: NetSetParts) -> None:
    for name in ("one", "two"):
        write_combined(parts.initramfs, parts.image, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_an_image_too_large_for_an_archive_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "image").open("wb") as stream:
        stream.truncate(1 << 32)
    (tmp_path / "base").write_bytes(b"")
    with pytest.raises(StagewrightError) as caught:
        write_combined(tmp_path / "base", tmp_path / "image", tmp_path / "both")
    assert caught.value.reason is Reason.BUILD_FAILED


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("by", InitramfsKind)
def test_there_is_always_a_root(method: Method, by: InitramfsKind) -> None:
    line = CommandLine(by, ["quiet"], "uk").for_method(method, "http://server/image.squashfs").split()
    assert [word for word in line if word.startswith("root=")] == [line[0]]
    assert "quiet" in line
    assert any(word.endswith("keymap=uk") for word in line)


def test_dracut_gets_an_image_named_img() -> None:
    line = CommandLine(InitramfsKind.DRACUT, []).for_method(Method.INITRD, "")
    assert line == "root=live:/image.squashfs.img"


def test_genkernel_gets_all_arguments_that_it_needs() -> None:
    line = CommandLine(InitramfsKind.GENKERNEL, []).for_method(Method.INITRD, "")
    assert set(line.split()) == {"root=/dev/ram0", "cdroot", "looptype=squashfs", "loop=/image.squashfs.img"}


def test_arguments_for_media_are_left_out() -> None:
    arguments = KernelArguments(ram=True, verify=True, keymap="uk")
    for by in InitramfsKind:
        words = by.for_network(arguments)
        assert not [word for word in words if re.match(r"rd\.live\.(ram|check)|docache|verify|.*keymap", word)]


def test_limits_of_tftp_are_listed() -> None:
    assert tftp_limits(30 * MIB) == []
    assert len(tftp_limits(64 * MIB)) == 1
    assert len(tftp_limits(200 * MIB)) == 2
    assert tftp_limits(5 << 30) == ["too large for TFTP"]


def test_parts_are_hard_links_and_all_files_are_digested(tmp_path: Path, parts: NetSetParts) -> None:
    folder = folder_of(tmp_path)
    written = write_set(parts, a_set(base_url="http://server/x"), folder, EPOCH)
    for name, source in {KERNEL: parts.kernel, INITRAMFS: parts.initramfs, IMAGE: parts.image}.items():
        assert (folder / name).samefile(source)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == set(written.files)
    sums = re.findall(r"^# SHA512 HASH\n(.*)$", (folder / "DIGESTS").read_text(encoding="utf-8"), re.MULTILINE)
    assert {line.split()[1] for line in sums} == files - {"DIGESTS"}
    check = ["sha512sum", "--check", "--quiet", "--strict"]
    subprocess.run(check, cwd=folder, input="\n".join(sums).encode() + b"\n", check=True)
    (folder / "boot.ipxe").chmod(0o644)
    (folder / "boot.ipxe").write_text("#!ipxe\n", encoding="utf-8")
    assert subprocess.run(check, cwd=folder, input="\n".join(sums).encode() + b"\n", check=False).returncode == 1


def test_a_set_is_reproducible(tmp_path: Path, parts: NetSetParts) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        write_set(parts, a_set(), folder, EPOCH)
    digests = [(folder / "DIGESTS").read_text(encoding="utf-8") for folder in folders]
    assert digests[0] == digests[1]
    assert {(folders[0] / name).stat().st_mtime for name in ("boot.ipxe", COMBINED, "DIGESTS")} == {EPOCH}


@pytest.mark.parametrize("by", InitramfsKind)
def test_every_entry_has_a_root(tmp_path: Path, parts: NetSetParts, by: InitramfsKind) -> None:
    folder = folder_of(tmp_path)
    command = CommandLine(by, by.for_network(KernelArguments()))
    fetches = by is InitramfsKind.DRACUT
    methods = list(Method) if fetches else [Method.INITRD]
    urls = {"base_url": "http://server/x", "nfs_url": "nfs://server/x", "nbd_url": "nbd://server"}
    write_set(parts, a_set(command=command, methods=methods, **urls), folder, EPOCH)
    texts = {
        name: (folder / name).read_text(encoding="utf-8") for name in ("boot.ipxe", "pxelinux.cfg/default", "grub.cfg")
    }
    lines = re.findall(r"^\s*(?:kernel boot|APPEND|linux) ?.*$", "\n".join(texts.values()), re.MULTILINE)
    assert len(lines) == (16 if fetches else 4)
    assert not [line for line in lines if not re.search(r" root=\S", line)]
    assert not [line for line in lines if re.search(r"\broot=live:/[^ ]*(?<!\.img)(?<!nbd0)( |$)", line)]


@pytest.mark.parametrize(("method", "entry"), [(Method.INITRD, "live"), (Method.STREAM, "live-stream")])
def test_a_method_becomes_the_default_of_the_menus(
    tmp_path: Path, parts: NetSetParts, method: Method, entry: str
) -> None:
    folder, served = folder_of(tmp_path), tmp_path / "served"
    write_set(parts, a_set(methods=list(Method), base_url="http://server/x"), folder, EPOCH)
    shutil.copytree(folder, served, copy_function=os.link)  # as the test serves a set of the store
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    choose_entry(served, method)
    assert f"\nDEFAULT {entry}\n" in (served / "pxelinux.cfg/default").read_text(encoding="utf-8")
    assert f"\nset default={entry}\n" in (served / "grub.cfg").read_text(encoding="utf-8")
    assert {path: path.read_bytes() for path in before} == before


def test_the_script_frees_images_before_it_loads_any(tmp_path: Path, parts: NetSetParts) -> None:
    folder = folder_of(tmp_path)
    write_set(parts, a_set(methods=list(Method)), folder, EPOCH)
    lines = (folder / "boot.ipxe").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!ipxe"
    commands = [line.split()[0] for line in lines if line and line[0] not in "#:"]
    assert commands[0] == "imgfree"
    labels = [line[1:] for line in lines if line.startswith(":")]
    jumps = re.findall(r"goto (\w+)", "\n".join(lines))
    assert set(jumps) - {"method", "less_"} <= set(labels)
    assert {"initrd", "initrd_efi", "http", "stream", "nfs", "nbd", "no_nfs", "no_nbd"} <= set(labels)


def test_each_method_passes_the_address_of_the_image(tmp_path: Path, parts: NetSetParts) -> None:
    folder = folder_of(tmp_path)
    write_set(parts, a_set(methods=list(Method)), folder, EPOCH)
    script = (folder / "boot.ipxe").read_text(encoding="utf-8")
    for label, argument in {
        "http": "root=live:${base-url}/image.squashfs",
        "stream": "root=live:/dev/nbd0 rd.stagewright.stream=${base-url}/image.squashfs",
        "nfs": "root=live:${nfs-url}/image.squashfs",
        "nbd": "root=live:/dev/nbd0 rd.stagewright.stream=${nbd-url}",
    }.items():
        section = script.partition(f"\n:{label}\n")[2].partition("\ngoto start")[0]
        assert f" {argument} ip=dhcp rd.neednet=1 " in section
    assert methods_of(folder) == list(Method)
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert re.search(r"\| stream: .* \| 128 MiB \| iPXE: `set method stream` before `chain` \|", readme)
    assert "`set method nfs` and `set nfs-url ADDRESS` before `chain`" in readme
    assert "set nfs-url nfs" not in re.sub(r"^#.*$", "", script, flags=re.MULTILINE)  # its address is unknown


def test_known_addresses_are_in_menus_and_script(tmp_path: Path, parts: NetSetParts) -> None:
    folder = folder_of(tmp_path)
    write_set(parts, a_set(methods=[Method.NFS, Method.STREAM], nfs_url="nfs://server/x"), folder, EPOCH)
    assert "isset ${nfs-url} || set nfs-url nfs://server/x\n" in (folder / "boot.ipxe").read_text(encoding="utf-8")
    menu = (folder / "grub.cfg").read_text(encoding="utf-8")
    assert "root=live:nfs://server/x/image.squashfs" in menu
    assert "/dev/nbd0" not in menu  # no base_url


def test_menus_without_an_address_do_not_fetch(tmp_path: Path, parts: NetSetParts) -> None:
    folder = folder_of(tmp_path)
    write_set(parts, a_set(), folder, EPOCH)
    assert "http" not in (folder / "grub.cfg").read_text(encoding="utf-8")
    assert "root=live:${base-url}/image.squashfs" in (folder / "boot.ipxe").read_text(encoding="utf-8")
    assert "set base-url ${cwduri}" in (folder / "boot.ipxe").read_text(encoding="utf-8")


def test_without_the_combined_file_new_versions_of_ipxe_join(tmp_path: Path, parts: NetSetParts) -> None:
    folder = folder_of(tmp_path)
    write_set(parts, a_set(combined=False), folder, EPOCH)
    assert not (folder / COMBINED).exists()
    assert not (folder / "grub.cfg").exists()
    assert "initrd=initrd.magic" in (folder / "boot.ipxe").read_text(encoding="utf-8")


def test_files_over_their_budget_are_reported(tmp_path: Path, parts: NetSetParts) -> None:
    with pytest.raises(ProblemsError) as caught:
        write_set(parts, a_set(budgets={"boot/*": 10, "nothing": 5, IMAGE: 1 << 30}), folder_of(tmp_path), EPOCH)
    problems = caught.value.problems
    assert {problem.reason for problem in problems} == {Reason.BUILD_FAILED}
    assert len(problems) == 3  # kernel, initramfs, and the pattern that fits nothing
    assert all(problem.hint for problem in problems)


def test_programs_for_bios_have_a_limit(tmp_path: Path, parts: NetSetParts) -> None:
    program = tmp_path / "undionly.kpxe"
    program.write_bytes(bytes(640 * 1024 + 1))
    more = NetSetParts(parts.kernel, parts.initramfs, parts.image, {"undionly.kpxe": program, "ipxe.efi": program})
    with pytest.raises(ProblemsError) as caught:
        write_set(more, a_set(), folder_of(tmp_path), EPOCH)
    assert len(caught.value.problems) == 1


@pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="NOT TESTED: dnsmasq is not installed")
@pytest.mark.parametrize("address", ["", "192.0.2.7"])
def test_dnsmasq_accepts_its_configuration(tmp_path: Path, address: str) -> None:
    names = ["undionly.kpxe", "ipxe.efi", "pxelinux.0", "grubaa64.efi"]
    text = dnsmasq_configuration('a "title"', names, "http://server/x", address=address, folder=str(tmp_path))
    (tmp_path / "dnsmasq.conf").write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["dnsmasq", "--test", f"--conf-file={tmp_path}/dnsmasq.conf"], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ("192.0.2.7" in text) == bool(address)
    assert "undionly.kpxe" in text
    assert "ARM64_EFI" in text


@pytest.mark.parametrize("name", ["a\ndhcp-script=/bin/x", 'a"b', "a #b", "a\x7f"])
def test_a_folder_whose_name_means_something_to_a_server_is_refused(tmp_path: Path, name: str) -> None:
    for proxy_dhcp in (True, False):
        with pytest.raises(StagewrightError) as caught:
            configuration(tmp_path / name, "192.0.2.7", "http://x", proxy_dhcp=proxy_dhcp, programs=[])
        assert caught.value.reason is Reason.USAGE and "\n" not in caught.value.message
    assert f"tftp-root={tmp_path}/a b" in configuration(tmp_path / "a b", "::1", "", proxy_dhcp=False)


def entry(title: str = "t", arguments: str = "") -> FoundEntry:
    return FoundEntry("boot/grub/grub.cfg", title, "boot/gentoo", ("boot/gentoo.igz",), arguments)


def test_arguments_about_the_medium_are_removed() -> None:
    words = "BOOT_IMAGE=/boot/gentoo root=live:CDLABEL=X rd.live.dir=/ quiet cdroot findiso=$f console=ttyS0 ---"
    assert _options(entry(arguments=words)) == ["quiet", "console=ttyS0"]


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Boot LiveCD (kernel: gentoo)", "Boot LiveCD"),
        ('a "b" ${c} `d` \\e', "a b c d e"),
        ("Système 1.0", "Système 1.0"),
        ("${}", ""),
    ],
)
def test_titles_contain_no_syntax_of_loaders(title: str, shown: str) -> None:
    assert _title(entry(title)) == shown
