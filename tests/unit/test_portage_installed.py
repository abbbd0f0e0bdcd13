"""Records of installed packages: read, and clamped together with the times of files."""

from __future__ import annotations

from pathlib import Path

from stagewright.portage.installed import (
    Package,
    clamp_records,
    installed_packages,
    order_records,
    packages_as_data,
    packages_from_data,
    read_entry,
    record_digests,
)

EPOCH = 1_700_000_000

RECORDS = {
    "PF": "hello-1\n",
    "SLOT": "0/2\n",
    "repository": "gentoo\n",
    "USE": "nls shout\n",
    "LICENSE": "MIT\n",
    "SIZE": "12\n",
    "BUILD_TIME": f"{EPOCH + 5}\n",
    "metadata": f"SLOT=0/2\nBUILD_TIME={EPOCH + 5}\n#dir_mtime=1\n",
    "CONTENTS": f"""dir /usr/bin
obj /usr/bin/a file {"0" * 32} {EPOCH + 7}
obj /usr/bin/old {"1" * 32} {EPOCH - 7}
sym /usr/bin/link -> a file {EPOCH + 9}
""",
}


def record(root: Path) -> Path:
    folder = root / "var/db/pkg/app-misc/hello-1"
    folder.mkdir(parents=True)
    for name, text in RECORDS.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder.parent / "-MERGING-other-1").mkdir()
    return folder


def test_installed_packages_are_read(tmp_path: Path) -> None:
    record(tmp_path)
    found = installed_packages(tmp_path)
    assert found == [Package("app-misc/hello-1", "0/2", "gentoo", ("nls", "shout"), "MIT", 12)]
    assert packages_from_data(packages_as_data(found)) == found
    assert read_entry(tmp_path, "app-misc/hello-1", "SLOT") == "0/2"
    assert read_entry(tmp_path, "app-misc/hello-1", "BUILD_ID") == ""


def test_the_recorded_digest_is_that_of_the_package_that_is_kept(tmp_path: Path) -> None:
    folder = record(tmp_path)
    (folder / "BINPKGMD5").write_text("00\n", encoding="ascii")
    record_digests(tmp_path, {f"{folder.parent.name}/{folder.name}": "12ab", "x/missing-1": "34"})
    assert (folder / "BINPKGMD5").read_text(encoding="ascii") == "12ab\n"


def test_only_later_times_are_clamped_in_the_records(tmp_path: Path) -> None:
    folder = record(tmp_path)
    clamp_records(tmp_path, EPOCH)
    assert (folder / "BUILD_TIME").read_text(encoding="utf-8") == f"{EPOCH}\n"
    summary = f"SLOT=0/2\nBUILD_TIME={EPOCH}\n#dir_mtime={EPOCH * 10**9}\n"
    assert (folder / "metadata").read_text(encoding="utf-8") == summary
    expected = RECORDS["CONTENTS"].replace(str(EPOCH + 7), str(EPOCH)).replace(str(EPOCH + 9), str(EPOCH))
    assert (folder / "CONTENTS").read_text(encoding="utf-8") == expected


def counted(root: Path, name: str, count: int) -> Path:
    folder = root / "var/db/pkg" / name
    folder.mkdir(parents=True)
    for file, text in (("PF", name), ("COUNTER", str(count)), ("metadata", f"CHOST=x\nCOUNTER={count}\nEAPI=8\n")):
        (folder / file).write_text(text, encoding="utf-8")
    return folder


def test_the_order_of_merges_does_not_show_in_the_records(tmp_path: Path) -> None:
    orders = ((9, 7, 8), (7, 8, 9), (8, 9, 7))
    for number, order in enumerate(orders):
        root = tmp_path / str(number)
        folders = [counted(root, f"app-misc/p{name}-1", count) for name, count in enumerate(order)]
        order_records(root)
        assert [(folder / "COUNTER").read_text(encoding="utf-8") for folder in folders] == ["7", "8", "9"]
        summaries = [(folder / "metadata").read_text(encoding="utf-8") for folder in folders]
        assert summaries == [f"CHOST=x\nCOUNTER={count}\nEAPI=8\n" for count in (7, 8, 9)]


def test_the_numbers_stay_if_a_library_is_preserved(tmp_path: Path) -> None:
    first = counted(tmp_path, "app-misc/a-1", 2)
    counted(tmp_path, "app-misc/b-1", 1)
    registry = tmp_path / "var/lib/portage/preserved_libs_registry"
    registry.parent.mkdir(parents=True)
    registry.write_text('{"app-misc/b:0": ["app-misc/b-1", "1", ["/usr/lib/libb.so.1"]]}', encoding="utf-8")
    order_records(tmp_path)
    assert (first / "COUNTER").read_text(encoding="utf-8") == "2"
