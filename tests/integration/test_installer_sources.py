"""Sources, boot loaders and networks of stagewright-install: tarballs and images over HTTP, verified."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from installer import KERNEL, LOADER, PROGRAM, Installer, make_tree, sha256
from terminals import on_terminal

from integration.signing import Signer
from integration.test_installer import ESP, KEY, MIB, Root, on_esp, pytestmark, squashed, starts, used
from integration.web import Site, serve

__all__ = ["pytestmark"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small system, with systemd-networkd and netifrc."""
    tree = make_tree(tmp_path_factory.mktemp("source") / "tree")
    for name in ("usr/lib/systemd/systemd-networkd", "usr/lib/systemd/systemd", "etc/conf.d/net"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"")
    return tree


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serve(tmp_path / "site") as site:
        yield site


@pytest.fixture
def installer(tmp_path: Path, tree: Path) -> Iterator[Installer]:
    source = tmp_path / "site/stage.tar.xz"
    source.parent.mkdir(exist_ok=True)
    subprocess.run(["tar", "-C", tree, "-cJf", source, "."], check=True)
    made = Installer(tmp_path, source)
    made.layout(root="Format=ext4\n")
    yield made
    made.pull_the_plug()


def test_a_tarball_from_the_network_is_verified(installer: Installer, site: Site) -> None:
    address = f"{site.url}/stage.tar.xz"
    wrong = installer.install(source=address, checksum="sha256:" + "0" * 64)
    assert wrong.returncode == 1 and "not 0000" in wrong.stderr and not starts(installer.image)
    undone = installer.install("--undo", source=address)
    assert undone.returncode == 0, undone.stderr
    signer = Signer.make(installer.folder / "gnupg")
    key = installer.folder / "key.asc"
    key.write_bytes(signer.gpg("--armor", "--export"))
    digests = f"# SHA512 HASH\n{subprocess.check_output(['sha512sum', 'stage.tar.xz'], cwd=site.root, text=True)}"
    (site.root / "DIGESTS").write_bytes(signer.gpg("--clearsign", stdin=digests.encode()))
    done = installer.install(
        "--json", source=address, checksum=None, digests=f"{site.url}/DIGESTS", signing_key=str(key), network="static",
        interface="eth0", address="192.0.2.7/24", gateway="192.0.2.1", dns="192.0.2.2 192.0.2.3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [found["step"] for found in events if found.get("state") == "finished"] == [
        "table", "encrypt", "format", "copy", "configure", "boot",
    ]  # fmt: skip
    assert events[-1] == {"event": "result", "state": "installed", "target": str(installer.image)}
    root = Root(installer.image)
    assert root.text("etc/systemd/network/20-stagewright-install.network") == (
        "[Match]\nName=eth0\n\n[Network]\nAddress=192.0.2.7/24\nGateway=192.0.2.1\nDNS=192.0.2.2\nDNS=192.0.2.3\n"
    )
    assert not root.has(".stagewright-install")
    assert on_esp(installer.image, "demo/6.1-test/linux") == KERNEL


def test_signatures_that_are_not_valid_are_refused(installer: Installer) -> None:
    signer, other = Signer.make(installer.folder / "a"), Signer.make(installer.folder / "b", "Other <o@example.org>")
    key, signature = installer.folder / "key.asc", installer.folder / "sig"
    key.write_bytes(signer.gpg("--armor", "--export"))
    installer.image.touch()
    os.truncate(installer.image, 128 * MIB)
    for who, code in ((other, 1), (signer, 0)):
        signature.unlink(missing_ok=True)
        who.gpg("--detach-sign", "--output", signature, installer.source)
        done = installer.install("--dry-run", checksum=None, signature=str(signature), signing_key=str(key))
        assert done.returncode == code and ("is not valid" in done.stderr) == (code == 1), done.stderr
    assert not used(installer.image)


def test_a_disk_image_becomes_startable_only_if_it_is_right(installer: Installer, site: Site) -> None:
    content = bytearray(os.urandom(5 * MIB))
    content[512 * 1024 : 512 * 1024 + 512] = bytes(512)
    packed = site.root / "disk.img.xz"
    packed.write_bytes(lzma.compress(content, preset=0))
    address = f"{site.url}/disk.img.xz"
    wrong = installer.install(source=address, checksum="sha512:" + "0" * 128, layout=None, console=None, size="8M")
    assert wrong.returncode == 1 and "does not start" in wrong.stderr
    assert installer.image.read_bytes()[: 512 * 1024] == bytes(512 * 1024)
    done = installer.install(
        "--resume", source=address, checksum=f"sha256:{sha256(packed)}", layout=None, console=None, source_type="image"
    )
    assert done.returncode == 1 and "had another disk, layout or source" in done.stderr
    assert installer("--undo", "--image", str(installer.image)).returncode == 0
    done = installer.install(source=address, checksum=f"sha256:{sha256(packed)}", layout=None, console=None)
    assert done.returncode == 0, done.stderr
    written = installer.image.read_bytes()
    assert written[: 512 * 1024] == content[: 512 * 1024]
    assert written[513 * 1024 : 5 * MIB] == content[513 * 1024 :]
    small = installer.install(
        source=address, checksum=f"sha256:{sha256(packed)}", layout=None, console=None, overwrite="yes"
    )
    assert small.returncode == 0
    os.truncate(installer.image, 4 * MIB)
    small = installer.install(
        source=address, checksum=f"sha256:{sha256(packed)}", layout=None, console=None, overwrite="yes"
    )
    assert small.returncode == 1 and "the image is larger than the image" in small.stderr


def test_grub_for_bios_knows_where_its_parts_are(installer: Installer, tree: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    subprocess.run(["cp", "-a", tree, own], check=True)
    (own / "usr/lib/grub/i386-pc").mkdir(parents=True)
    (own / "usr/lib/grub/i386-pc/boot.img").write_bytes(b"B" * 512)
    (own / "usr/lib/grub/i386-pc/core.img").write_bytes(b"C" * 2000)
    image = squashed(own)
    folder = installer.layout(root="Format=ext4\n")
    bios = "[Partition]\nType=21686148-6449-6e6f-744e-656564454649\nSizeMinBytes=1M\nSizeMaxBytes=1M\n"
    (folder / "05-bios.conf").write_text(bios, encoding="utf-8")
    done = installer.install(source=str(image), checksum=None, verify="none", boot="grub-bios")
    assert done.returncode == 0, done.stderr
    written = installer.image.read_bytes()
    start = MIB // 512
    assert written[:440] == b"B" * 92 + start.to_bytes(8, "little") + b"B" * 340
    assert written[510:512] == b"\x55\xaa"
    assert written[MIB : MIB + 2000] == b"C" * 500 + (start + 1).to_bytes(8, "little") + b"C" * 1492
    menu = on_esp(installer.image, "grub/grub.cfg", 2 * MIB).decode()
    assert 'menuentry "Demo 1"' in menu and "linux /demo/6.1-test/linux root=UUID=" in menu


def test_a_unified_kernel_image_is_made_by_ukify(installer: Installer) -> None:
    installer.fakes.put(
        "ukify", 'for word; do case $word in --output=*) out=${word#*=} ;; esac; done; echo "$@" > "$out"'
    )
    done = installer.install(boot="uki", finish="exit", source_type="tarball", network="dhcp")
    assert done.returncode == 0, done.stderr
    made = on_esp(installer.image, "EFI/Linux/demo-6.1-test.efi").decode()
    assert "--cmdline=root=UUID=" in made and "vmlinuz" in made
    assert on_esp(installer.image, "EFI/BOOT/BOOTX64.EFI") == LOADER
    assert "[Match]\nType=ether\n\n[Network]\nDHCP=yes\n" in Root(installer.image).text(
        "etc/systemd/network/20-stagewright-install.network"
    )


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_other_file_systems_and_swap(installer: Installer, kind: str) -> None:
    if kind not in Path("/proc/filesystems").read_text(encoding="utf-8"):
        pytest.skip(f"NOT TESTED: the kernel has no {kind}")
    installer.layout(swap="Format=swap\nSizeMaxBytes=20M\n", root=f"Format={kind}\nSizeMinBytes=310M\n")
    done = installer.install(size="400M", boot="none")
    assert done.returncode == 0, done.stderr
    for start, found in ((1 + ESP, "swap"), (21 + ESP, kind)):
        words = ["blkid", "-p", "-s", "TYPE", "-o", "value", "--offset", str(start * MIB), installer.image]
        assert subprocess.check_output(words, text=True).strip() == found


def test_encryption_needs_device_mapper_and_a_passphrase(installer: Installer) -> None:
    installer.layout(root="Format=ext4\nEncrypt=key-file\n")
    secret = installer.folder / "secret"
    secret.write_text("correct horse", encoding="utf-8")
    for extra in ({"passphrase": "correct horse"}, {"passphrase_file": str(secret)}):
        done = installer.install(**extra)
        if " device-mapper\n" in Path("/proc/misc").read_text(encoding="ascii"):
            assert done.returncode == 0, done.stderr
            assert installer.image.read_bytes().count(b"LUKS\xba\xbe") >= 1
            installer.image.unlink()
        else:
            assert done.returncode == 1 and "the kernel has no device-mapper" in done.stderr
            assert not used(installer.image)


def test_a_person_installs_on_a_terminal(installer: Installer) -> None:
    """Answer the questions, one of them wrong at first, and type the name at the end."""
    words = ["unshare", "-m", str(PROGRAM), "--image", str(installer.image), "--size", "128M"]
    with on_terminal(words, before="STAGEWRIGHT_INSTALL_UNSHARED=yes ") as user:
        for question, reply in [
            ("or a folder)", str(installer.folder / "layout")),
            ("Source (live", str(installer.source)),
            ("Checksum", "sha256:nonsense"),
            ("is not sha256:HEX", f"sha256:{sha256(installer.source)}"),
            ("Host name", "box"),
            ("Time zone", ""),
            ("Keyboard", ""),
            ("Locale", ""),
            ("Network", ""),
            ("Password of root", "one"),
            ("again", "other"),
            ("the two differ", None),
            ("Password of root", "right"),
            ("again: ", "right"),
            ("SSH key of root", KEY),
            ("Name of a user", "alice"),
            ("Password of alice", ""),
            ("Then (exit", ""),
            ('Type "disk.img" to erase', "disk.img"),
        ]:
            user.wait_for(question.encode())
            before, user.said = user.said.split(question.encode(), 1)
            assert b"right" not in before  # the password is not shown
            if reply is not None:
                user.type(reply.encode() + b"\r")
        user.wait_for(b"installed on image")
    root = Root(installer.image)
    assert root.text("etc/hostname") == "box\n"
    assert root.text("etc/shadow").startswith("root:$6$")
    assert "alice:!:" in root.text("etc/shadow")
    assert root.text("root/.ssh/authorized_keys") == KEY + "\n"


def test_a_person_who_does_not_confirm_loses_nothing(installer: Installer) -> None:
    replies = [str(installer.folder / "layout"), str(installer.source), "-", *[""] * 6, "-", "-", "", "no"]
    done = installer("--image", str(installer.image), "--size", "128M", typed="\n".join(replies) + "\n",
                     STAGEWRIGHT_INSTALL_ASK="stdin")  # fmt: skip
    assert done.returncode == 1 and "not confirmed" in done.stderr
    assert "NOT verified" in done.stdout
    assert not used(installer.image)
