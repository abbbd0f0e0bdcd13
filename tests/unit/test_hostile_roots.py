"""Pipes, loops and numbers in roots, repositories, media and names: one sentence, never a traceback, never a hang."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from limits import limited

from stagewright.chroot import inside
from stagewright.cli.main import run
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.fetch.openpgp import SignedText
from stagewright.media.inspect import _BootStructures, inspect
from stagewright.portage.confdir import ParallelJobs, assemble_confdir
from stagewright.portage.distfiles import BuildDistfiles
from stagewright.portage.ebuilds import by_version
from stagewright.portage.emerge import Portage, PortageFolders
from stagewright.portage.emerge_output import EmergeOutput
from stagewright.portage.installed import clamp_records, packages_of
from stagewright.portage.pkgdir import Pkgdir
from stagewright.portage.repositories import Repository, has_package, profile_chain
from stagewright.portage.settings import PortageSettings
from stagewright.root.files import copy_in, read_file
from stagewright.root.passwd import Tables
from stagewright.root.root import Root
from stagewright.seeds.gentoo import _stages
from stagewright.store.names import file_name
from stagewright.store.store import Store

in_roots = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: changing into a root needs root")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/etc").mkdir(parents=True)
    return tmp_path / "root"


@in_roots
def test_files_of_a_root_that_are_not_regular_are_an_error(root: Path) -> None:
    os.mkfifo(root / "etc/os-release")
    os.mknod(root / "etc/zero", 0o20666, os.makedev(1, 5))
    for name in ("os-release", "zero"):
        with pytest.raises(StagewrightError) as caught:
            read_file(root, f"/etc/{name}")
        assert caught.value.reason is Reason.BUILD_FAILED
        assert name in caught.value.message


@in_roots
def test_a_loop_and_invalid_numbers_in_the_accounts_of_a_root_are_an_error(root: Path) -> None:
    (root / "etc/passwd").write_text(f"a:x:{'9' * 5000}:0:::\nb:x:\u00b2:0:::\nc:x:7:0:::\n", encoding="utf-8")
    assert inside(root, Tables.read).passwd.numbers() == {7: "c"}
    (root / "etc/group").symlink_to("group")
    with pytest.raises(StagewrightError) as caught:
        inside(root, Tables.read)
    assert caught.value.reason is Reason.BUILD_FAILED


@in_roots
def test_odd_records_of_packages_have_limits(root: Path) -> None:
    record = root / "var/db/pkg/app-misc/hello-1"
    record.mkdir(parents=True)
    (record / "PF").write_text("hello-1\n", encoding="utf-8")
    (record / "SIZE").write_text("9" * 5000, encoding="utf-8")
    (package,) = packages_of(root)
    assert package.size == 0
    os.mkfifo(record / "USE")
    with pytest.raises(StagewrightError) as caught:
        packages_of(root)
    assert caught.value.reason is Reason.BUILD_FAILED


@in_roots
def test_records_that_are_links_to_files_of_the_host_do_not_change_them(root: Path, tmp_path: Path) -> None:
    """With the old call, from outside of the root, the host's file becomes a number."""
    secret = tmp_path / "secret"
    secret.write_text("mine\n", encoding="utf-8")
    record = root / "var/db/pkg/app-misc/hello-1"
    record.mkdir(parents=True)
    (record / "PF").touch()
    (record / "BUILD_TIME").symlink_to(secret)
    inside(root, clamp_records, Path("/"), 5)
    assert secret.read_text(encoding="utf-8") == "mine\n"
    clamp_records(root, 5)
    assert secret.read_text(encoding="utf-8") == "0\n"


def portage_in(folder: Path) -> Portage:
    return Portage(
        Root(folder, folder),
        PortageFolders(folder, BuildDistfiles(folder, folder, "p"), Pkgdir(folder), folder / "build", folder),
        [],
        0,
    )


@pytest.mark.parametrize("fetching", [False, True])
def test_a_disk_that_is_full_when_emerge_starts_is_reported_as_one(tmp_path: Path, fetching: bool) -> None:
    text = "Traceback (most recent call last):\n  f.close()\nOSError: [Errno 28] No space left on device"
    output = EmergeOutput(text.splitlines())
    error = portage_in(tmp_path)._explained(output.failure(fetching, tmp_path), output)
    assert (error.reason, error.detail.strip()) == (Reason.DISK_FULL, "OSError: [Errno 28] No space left on device")


def test_a_build_log_that_is_a_link_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root:$6$hash\n", encoding="utf-8")
    portage = portage_in(tmp_path)
    output = EmergeOutput([" * ERROR: a/b-1::demo failed (compile phase):"])
    log = tmp_path / "build/portage/a/b-1/temp/build.log"
    log.parent.mkdir(parents=True)
    for make in (
        lambda: log.symlink_to(tmp_path / "secret"),
        lambda: os.mkfifo(log),
        lambda: log.write_text("why\n", encoding="utf-8"),
    ):
        make()
        error = portage._explained(output.failure(fetching=False), output)
        assert error.reason is Reason.PACKAGE_FAILED and "hash" not in error.detail
        log.unlink()
    assert "why" in error.detail


def test_links_of_a_confdir_are_not_followed(tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (host / "secret").write_text("mine", encoding="utf-8")
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second / "package.use"):
        folder.mkdir(parents=True)
    for name in ("repos.conf", "package.use", "make.profile"):
        (first / name).symlink_to(host)
    (first / "make.conf").symlink_to(host / "secret")
    (second / "package.use/evil").touch()
    repo = Repository("repo", tmp_path)
    made = assemble_confdir(tmp_path / "made", PortageSettings(), [first, second], [repo], ParallelJobs(1, 1))
    assert [path.name for path in host.iterdir()] == ["secret"]
    assert (made / "repos.conf/stagewright.conf").is_file() and (made / "package.use/evil").is_file()
    assert [path.name for path in (made / "make.conf").iterdir() if path.is_symlink()] == []
    assert (made / "make.conf/500-first/make.conf").is_symlink()


@in_roots
def test_a_pipe_in_an_overlay_is_an_error(root: Path, tmp_path: Path) -> None:
    (tmp_path / "overlay").mkdir()
    os.mkfifo(tmp_path / "overlay/pipe")
    with pytest.raises(StagewrightError) as caught:
        copy_in(root, tmp_path / "overlay", epoch=0)
    assert caught.value.reason is Reason.BUILD_FAILED


def test_long_names_in_repositories_are_not_found(tmp_path: Path) -> None:
    repo = Repository("gentoo", tmp_path, main=True)
    assert not has_package(f"app-misc/{'x' * 300}", [repo])
    with pytest.raises(StagewrightError) as caught:
        profile_chain("x" * 300, [repo])
    assert caught.value.reason is Reason.MISSING_FILE


@pytest.mark.slow
@pytest.mark.parametrize(("levels", "parents"), [(60, 2), (200, 1)], ids=["many", "deep"])
def test_profiles_with_too_many_parents_are_an_error(tmp_path: Path, levels: int, parents: int) -> None:
    for level in range(levels):
        folder = tmp_path / f"profiles/p{level}"
        folder.mkdir(parents=True)
        (folder / "parent").write_text(f"../p{level + 1}\n" * parents, encoding="utf-8")
    (tmp_path / f"profiles/p{levels}").mkdir()
    with limited(5), pytest.raises(ProblemsError) as caught:
        profile_chain("p0", [Repository("gentoo", tmp_path, main=True)])
    assert caught.value.reason is Reason.INVALID_VALUE


def test_versions_of_any_length_are_compared() -> None:
    long = "9" * 5000
    assert sorted([f"1{long}", long, "2"], key=by_version) == ["2", long, f"1{long}"]


@pytest.mark.parametrize("line", [f"20260101T000000Z/stage3-amd64-20260101T000000Z.tar.xz {'9' * 5000}", "99999999"])
def test_invalid_numbers_in_a_listing_of_gentoo_are_an_error(line: str) -> None:
    bad = line if "/" in line else f"{line}T000000Z/stage3-amd64-{line}T000000Z.tar.xz 5"
    with pytest.raises(StagewrightError) as caught:
        _stages(SignedText(f"# ts=1\n{bad}\n".encode(), []))  # type: ignore[arg-type]
    assert caught.value.reason is Reason.BAD_LISTING


def test_an_invalid_start_of_a_partition_is_an_error() -> None:
    with pytest.raises(StagewrightError) as caught:
        _BootStructures.of(f"MBR partition      :   1   0x80  0xef  {'9' * 5000}  5\n")
    assert caught.value.reason is Reason.BAD_ARCHIVE


def test_a_pipe_is_rejected_as_a_medium(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StagewrightError) as caught:
        inspect(tmp_path / "pipe", tmp_path)
    assert caught.value.reason is Reason.BAD_ARCHIVE


def test_paths_that_are_not_utf8_are_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/l\xe9"))
    folder.mkdir()
    (folder / "stagewright.toml").write_text('format = 1\nproject = { name = "p", version = "1" }\n', encoding="utf-8")
    assert run(["-C", str(folder), "--store", str(tmp_path / "store"), "plan"]) == 2
    assert "not UTF-8" in capfd.readouterr().err
    with pytest.raises(StagewrightError) as caught:
        Store(folder / "store")
    assert caught.value.reason is Reason.USAGE
    assert file_name(str(folder)).endswith("l\udce9")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_commands_run_with_closed_standard_streams(closed: str) -> None:
    line = f'"{sys.executable}" -m stagewright --version {closed}'
    assert subprocess.run(["sh", "-c", line], check=False).returncode == 0
