"""Changes to the files of a root: whatever links lie there, nothing outside is touched."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stagewright.errors import Reason, StagewrightError
from stagewright.root.files import clamp_times, copy_in, empty, exists, find, make_link, read_file, remove, write_file

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: changing into a root needs root")

EPOCH = 1_600_000_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with merged /usr, next to a folder that must never change."""
    root = tmp_path / "root"
    for name in ("etc", "usr/bin", "usr/lib", "var/log"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib"):
        (root / name).symlink_to(f"usr/{name}")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("precious", encoding="utf-8")
    return root


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    return overlay


def fill(folder: Path, *names: str) -> None:
    """Make files; names that end in / are folders, ``name -> target`` is a link."""
    for name in names:
        path = folder / name.partition(" -> ")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        if " -> " in name:
            path.symlink_to(name.partition(" -> ")[2])
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text(name, encoding="utf-8")


def listing(folder: Path) -> dict[str, tuple[int, ...] | str]:
    """Everything below a folder, with what a change would change."""
    found: dict[str, tuple[int, ...] | str] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        info = path.lstat()
        content = (
            str(path.readlink()) if path.is_symlink() else path.read_text(encoding="utf-8") if path.is_file() else ""
        )
        found[str(path.relative_to(folder))] = (
            info.st_mode,
            info.st_uid,
            info.st_mtime_ns,
            info.st_nlink,
            hash(content),
        )
    return found


# copying


def test_copies_files_folders_and_links(root: Path, overlay: Path) -> None:
    fill(overlay, "etc/motd", "opt/empty/", "etc/link -> /nowhere", ".git/config", "srv/.git")
    copy_in(root, overlay, epoch=EPOCH)
    assert (root / "etc/motd").read_text(encoding="utf-8") == "etc/motd"
    assert (root / "opt/empty").is_dir()
    assert str((root / "etc/link").readlink()) == "/nowhere"
    assert not (root / ".git").exists()
    assert list((root / "srv").iterdir()) == []


def test_modes_stay_owners_and_times_do_not(root: Path, overlay: Path) -> None:
    fill(overlay, "opt/tool", "opt/private/", "opt/link -> tool")
    os.chown(overlay / "opt/tool", 12, 34)
    (overlay / "opt/tool").chmod(0o4755)
    (overlay / "opt/private").chmod(0o700)
    copy_in(root, overlay, epoch=EPOCH)
    tool, private = (root / "opt/tool").stat(), (root / "opt/private").stat()
    assert stat.S_IMODE(tool.st_mode) == 0o4755
    assert stat.S_IMODE(private.st_mode) == 0o700
    assert (tool.st_uid, tool.st_gid) == (0, 0)
    for name in ("opt", "opt/tool", "opt/private", "opt/link"):
        assert (root / name).lstat().st_mtime == EPOCH, name


def test_a_file_replaces_a_file_and_a_link(root: Path, overlay: Path) -> None:
    fill(root, "etc/a", "etc/b -> /outside", "etc/c -> c")
    (root / "etc/hard").hardlink_to(root / "etc/a")
    fill(overlay, "etc/a", "etc/b", "etc/c")
    (overlay / "etc/a").write_text("new", encoding="utf-8")
    copy_in(root, overlay, epoch=EPOCH)
    assert (root / "etc/a").read_text(encoding="utf-8") == "new"
    assert (root / "etc/hard").read_text(encoding="utf-8") == "etc/a"
    assert not (root / "etc/b").is_symlink()
    assert not (root / "etc/c").is_symlink()


def test_a_folder_goes_where_a_link_leads_inside(root: Path, overlay: Path) -> None:
    fill(root, "opt -> /var/opt", "var/opt/", "srv -> ../../../../var/srv", "var/srv/")
    fill(overlay, "bin/tool", "opt/x", "srv/y")
    copy_in(root, overlay, epoch=EPOCH)
    assert (root / "bin").is_symlink()
    assert (root / "usr/bin/tool").exists()
    assert (root / "var/opt/x").exists()
    assert (root / "var/srv/y").exists()


@pytest.mark.parametrize(
    ("there", "new"),
    [
        ("etc/x", "etc/x/y"),
        ("etc/x/y", "etc/x"),
        ("etc/x -> nowhere", "etc/x/y"),
        ("etc/x -> x", "etc/x/y"),
        ("etc/x/y", "etc/x -> y"),
    ],
)
def test_a_folder_and_a_file_of_one_name_clash(root: Path, overlay: Path, there: str, new: str) -> None:
    fill(root, there)
    fill(overlay, new)
    with pytest.raises(StagewrightError) as caught:
        copy_in(root, overlay, epoch=EPOCH)
    assert caught.value.reason is Reason.BUILD_FAILED
    assert caught.value.hint


def test_into_a_folder_of_the_root(root: Path, overlay: Path) -> None:
    fill(overlay, "x")
    copy_in(root, overlay, epoch=EPOCH, target="/opt/deep")
    assert (root / "opt/deep/x").exists()


# single files


def test_writing_and_reading(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    fill(root, f"etc/out -> {outside}/precious", f"var/out -> {outside}", "etc/loop -> loop")
    write_file(root, "etc/out", "new\n", epoch=EPOCH, mode=0o600)
    write_file(root, "/bin/x/y", "é", epoch=EPOCH)
    assert read_file(root, "/etc/out") == "new\n"
    assert read_file(root, "lib/../bin/x/y") == "é"
    assert (root / "usr/bin/x/y").stat().st_mtime == EPOCH
    assert stat.S_IMODE((root / "etc/out").stat().st_mode) == 0o600
    for name in ("etc/none", "etc/loop", "etc", "etc/out/x", "var/out/precious"):
        assert read_file(root, name) is None, name
    (root / "etc/latin").write_bytes(b"\xe4")
    assert read_file(root, "etc/latin") == "\N{REPLACEMENT CHARACTER}"


def test_exists_follows_links_inside(root: Path, tmp_path: Path) -> None:
    fill(root, "usr/bin/sh", f"etc/out -> {tmp_path}/outside/precious", "etc/loop -> loop", "etc/in -> /bin/sh")
    assert exists(root, "bin/sh")
    assert exists(root, "/etc/in")
    assert not exists(root, "etc/out")
    assert not exists(root, "etc/loop")


def test_making_links(root: Path, tmp_path: Path) -> None:
    fill(root, f"etc/out -> {tmp_path}/outside/precious")
    make_link(root, "etc/out", "/usr", epoch=EPOCH)
    make_link(root, "new/link", "../etc", epoch=EPOCH)
    assert str((root / "etc/out").readlink()) == "/usr"
    assert str((root / "new/link").readlink()) == "../etc"
    assert (root / "new/link").lstat().st_mtime == EPOCH


# removing

REMOVALS: dict[str, tuple[list[str], list[str], list[str], list[str]]] = {
    # what is there, patterns, what is gone, patterns that match nothing
    "a file": (["etc/x", "etc/y"], ["/etc/x"], ["etc/x"], []),
    "without slash": (["etc/x"], ["etc/x"], ["etc/x"], []),
    "a folder": (["srv/a/b"], ["/srv"], ["srv"], []),
    "a pattern": (["etc/a.bak", "etc/b.bak", "etc/b"], ["/etc/*.bak"], ["etc/a.bak", "etc/b.bak"], []),
    "hidden names": (["etc/.x"], ["/etc/*"], ["etc/.x"], []),
    "a set of characters": (["etc/a1", "etc/a2", "etc/a3"], ["/etc/a[12]"], ["etc/a1", "etc/a2"], []),
    "nothing": ([], ["/etc/x", "/none/*", "/var/*.x"], [], ["/etc/x", "/none/*", "/var/*.x"]),
    "a link, not what it leads to": (["srv/x", "etc/l -> /srv"], ["/etc/l"], ["etc/l"], []),
    "a link to the root": (["etc/l -> /"], ["/etc/l"], ["etc/l"], []),
    "a link to nothing": (["etc/l -> none"], ["/etc/l"], ["etc/l"], []),
    "a loop": (["etc/l -> l"], ["/etc/l"], ["etc/l"], []),
    "through a link": (["usr/bin/x"], ["/bin/x"], ["usr/bin/x"], []),
    "any depth": (["srv/a.o", "srv/b/c/a.o", "srv/b/d"], ["/srv/**/*.o"], ["srv/a.o", "srv/b/c/a.o"], []),
    "any depth, links in the way": (["srv/a/x.o", "srv/b -> a"], ["/srv/**/*.o"], ["srv/a/x.o"], []),
    "any depth, loops in the way": (
        ["srv/a -> .", "srv/b -> .", "srv/c -> /srv", "srv/x.o"],
        ["/srv/**/x.o"],
        ["srv/x.o"],
        [],
    ),
    "any depth, but through no link": (["opt/x", "srv/l -> /opt"], ["/srv/**/x"], [], ["/srv/**/x"]),
    "a folder and what is in it": (["srv/a/a/a", "srv/b"], ["/srv/**/a"], ["srv/a"], []),
    "everything below": (["srv/a/b", "srv/c"], ["/srv/**"], ["srv/a", "srv/c"], []),
    "twice": (["etc/x"], ["/etc/x", "/etc/x"], ["etc/x"], ["/etc/x"]),
}


@pytest.mark.parametrize(("there", "patterns", "gone", "unmatched"), REMOVALS.values(), ids=REMOVALS)
def test_removing(root: Path, there: list[str], patterns: list[str], gone: list[str], unmatched: list[str]) -> None:
    fill(root, *there)
    before = {str(path.relative_to(root)) for path in root.rglob("*")}
    assert remove(root, patterns) == unmatched
    left = {str(path.relative_to(root)) for path in root.rglob("*")}
    assert before - left == {name for name in before if any(name == g or name.startswith(f"{g}/") for g in gone)}


def test_finding(root: Path, tmp_path: Path) -> None:
    fill(root, "usr/lib/libz.so.1", "usr/lib/libz.so -> libz.so.1", "usr/lib/.hidden", "etc/out -> /../outside")
    (root / "srv").symlink_to(tmp_path / "outside")
    assert find(root, ["/lib/libz*", "/usr/lib/", "/usr/lib/*n", "/etc/out", "/srv/*", "/none/x"]) == {
        "/lib/libz*": ["/lib/libz.so", "/lib/libz.so.1"],
        "/usr/lib/": ["/usr/lib"],
        "/usr/lib/*n": ["/usr/lib/.hidden"],
        "/etc/out": ["/etc/out"],  # the link, not what it leads to
        "/srv/*": [],
        "/none/x": [],
    }


def test_emptying(root: Path) -> None:
    fill(root, "var/log/a/b", "var/log/.hidden", "var/log2/c", "srv/file", "etc/l -> /var/log")
    assert empty(root, ["/var/log*", "/srv/file", "/none", "/opt/*"]) == ["/srv/file", "/none", "/opt/*"]
    assert list((root / "var/log").iterdir()) == list((root / "var/log2").iterdir()) == []
    assert (root / "srv/file").exists()
    assert empty(root, ["/var/log"]) == []


@pytest.mark.parametrize("change", [remove, empty])
@pytest.mark.parametrize("pattern", ["/", "", "//", "/.", "/*/..", "/usr/../..", "../outside", "/etc/../*"])
def test_the_root_itself_is_refused(root: Path, change: Callable[..., object], pattern: str) -> None:
    fill(root, "etc/x")
    before = listing(root.parent)
    with pytest.raises(StagewrightError) as caught:
        change(root, ["/none", pattern])
    assert caught.value.reason is Reason.INVALID_VALUE
    assert caught.value.hint
    assert listing(root.parent) == before


# hostile roots

TARGETS = ["OUTSIDE", "OUTSIDE/precious", "/", "..", "../../outside", "/etc/../../outside", ".", "a", "/b", "b/c"]
PATHS = ["a", "b", "a/b", "b/c", "a/b/c"]
ENTRIES = st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(["file", "folder", *TARGETS])), max_size=6)


def build(folder: Path, outside: Path, entries: list[tuple[str, str]]) -> None:
    for name, what in entries:
        path = folder / name
        if any(parent.is_symlink() or parent.is_file() for parent in [path, *path.parents]) or path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "folder":
            path.mkdir()
        elif what == "file":
            path.write_text("file", encoding="utf-8")
        else:
            path.symlink_to(what.replace("OUTSIDE", str(outside)))


@pytest.mark.slow
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    ENTRIES,
    ENTRIES,
    st.lists(
        st.sampled_from(["/a", "/a/*", "/**/c", "/**", "/*/*", "a/b/c", "/b/precious", "/*/precious"]), max_size=3
    ),
    st.sampled_from(PATHS),
)
def test_nothing_outside_a_root_ever_changes(
    there: list[tuple[str, str]], new: list[tuple[str, str]], patterns: list[str], path: str
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root, overlay, outside = folder / "root", folder / "overlay", folder / "outside"
        for made in (root, overlay, outside):
            made.mkdir()
        (outside / "precious").write_text("precious", encoding="utf-8")
        build(root, outside, there)
        build(overlay, outside, new)
        before = listing(outside), listing(overlay), sorted(folder.iterdir())
        changes: list[Callable[[], object]] = [
            lambda: copy_in(root, overlay, epoch=EPOCH),
            lambda: write_file(root, path, "new", epoch=EPOCH),
            lambda: make_link(root, f"{path}/link", "x", epoch=EPOCH),
            lambda: remove(root, patterns),
            lambda: empty(root, patterns),
        ]
        for change in changes:
            with contextlib.suppress(StagewrightError, OSError):
                change()
        assert read_file(root, path) != "precious"
        clamp_times(root, EPOCH)
        assert (listing(outside), listing(overlay), sorted(folder.iterdir())) == before


# times


def test_only_newer_times_are_clamped(tmp_path: Path) -> None:
    fill(tmp_path, "a/old", "a/new", "a/link -> /etc/passwd", "b/")
    os.utime(tmp_path / "a/old", (5, 5))
    os.utime(tmp_path / "a/new", ns=(EPOCH * 10**9 + 1, EPOCH * 10**9 + 1))
    passwd = Path("/etc/passwd").stat().st_mtime_ns
    clamp_times(tmp_path, EPOCH)
    times = {str(path.relative_to(tmp_path)): path.lstat().st_mtime_ns for path in [tmp_path, *tmp_path.rglob("*")]}
    assert times.pop("a/old") == 5 * 10**9
    assert set(times.values()) == {EPOCH * 10**9}
    assert Path("/etc/passwd").stat().st_mtime_ns == passwd
