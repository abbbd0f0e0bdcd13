"""Facts of merged packages from a repository: sources by USE flags, addresses of mirrors, digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from stagewright.portage.ebuild_facts import source_files
from stagewright.portage.ebuild_records import EbuildMetadata, EbuildRecord
from stagewright.portage.installed import Package
from stagewright.portage.repositories import Repository

EBUILD = "EAPI=8\n"
SRC_URI = (
    "https://example.org/a-1.tar.gz doc? ( mirror://gnu/a/a-doc.tar.xz -> a-doc-1.tar.xz ) "
    "!doc? ( plain.patch ) fetch+https://example.org/b.bin"
)
MANIFEST = "DIST a-1.tar.gz 12 BLAKE2B AA SHA512 BB\nDIST plain.patch 3 SHA512 CC\nDIST other 1 SHA512 DD\nEBUILD x\n"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    files = {
        "app-misc/a/a-1.ebuild": EBUILD,
        "app-misc/a/Manifest": MANIFEST,
        "profiles/thirdpartymirrors": "gnu https://one.example/gnu/ https://two.example\n# none\n",
        "metadata/md5-cache/app-misc/a-1": entry(EBUILD),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def entry(ebuild: str) -> str:
    digest = hashlib.md5(ebuild.encode(), usedforsecurity=False).hexdigest()
    return f"DESCRIPTION=An example\nHOMEPAGE=https://example.org\nSRC_URI={SRC_URI}\n_md5_={digest}\n"


def records(repo: Path, *more: Path, cache: Path | None = None) -> list[EbuildRecord]:
    package = Package("app-misc/a-1", "0", "demo", (), "MIT", 7)
    others = [Repository(f"more{number}", path) for number, path in enumerate(more)]
    metadata = EbuildMetadata([Repository("demo", repo), *others], cache or repo / "none")
    return list(metadata.records([package], {"demo": "git:1234"}))


@pytest.mark.parametrize(
    ("use", "names"),
    [("", ["a-1.tar.gz", "plain.patch", "b.bin"]), ("doc", ["a-1.tar.gz", "a-doc-1.tar.xz", "b.bin"])],
)
def test_sources_follow_the_use_flags(repo: Path, use: str, names: list[str]) -> None:
    (record,) = records(repo)
    assert [source.name for source in source_files(record, use.split())] == names
    known = {name: record.metadata[name] for name in ("DESCRIPTION", "HOMEPAGE")}
    assert (record.tree, known) == ("git:1234", {"DESCRIPTION": "An example", "HOMEPAGE": "https://example.org"})


def test_sources_have_addresses_sizes_and_digests(repo: Path) -> None:
    first, renamed, last = source_files(records(repo)[0], ["doc"])
    assert (first.size, dict(first.digests)) == (12, {"BLAKE2B": "aa", "SHA512": "bb"})
    assert first.uris == ("https://example.org/a-1.tar.gz",)
    assert renamed.uris == ("https://one.example/gnu/a/a-doc.tar.xz", "https://two.example/a/a-doc.tar.xz")
    assert (last.uris, last.size, dict(last.digests)) == (("https://example.org/b.bin",), None, {})


def test_an_entry_of_another_ebuild_does_not_count(repo: Path) -> None:
    (repo / "app-misc/a/a-1.ebuild").write_text("EAPI=7\n", encoding="utf-8")
    assert not records(repo)


def test_without_an_entry_the_cache_of_portage_counts(repo: Path, tmp_path: Path) -> None:
    (repo / "metadata/md5-cache/app-misc/a-1").unlink()
    kept = tmp_path / "dep/var/db/repos/demo/app-misc/a-1"
    kept.parent.mkdir(parents=True)
    kept.write_text(entry(EBUILD).replace("_md5_=", "_mtime_="), encoding="utf-8")
    assert len(source_files(records(repo, cache=tmp_path / "dep")[0], ())) == 3


def test_a_text_that_is_not_balanced_has_no_sources(repo: Path) -> None:
    text = entry(EBUILD).replace("doc? (", "doc? ( (", 1)
    (repo / "metadata/md5-cache/app-misc/a-1").write_text(text, encoding="utf-8")
    assert source_files(records(repo)[0], ()) == ()


def test_packages_of_other_repositories_have_no_facts(repo: Path) -> None:
    package = Package("app-misc/a-1", "0", "other", (), "MIT", 7)
    assert not list(EbuildMetadata([Repository("demo", repo)], repo / "none").records([package], {}))


def test_mirrors_of_several_repositories_are_joined(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "more/profiles").mkdir(parents=True)
    (tmp_path / "more/profiles/thirdpartymirrors").write_text("gnu https://three.example\n", encoding="utf-8")
    (record,) = records(repo, tmp_path / "more", tmp_path / "gone")
    _, renamed, _ = source_files(record, ["doc"])
    bases = ("https://one.example/gnu", "https://two.example", "https://three.example")
    assert renamed.uris == tuple(f"{base}/a/a-doc.tar.xz" for base in bases)


def test_only_lines_about_the_own_source_files_are_kept(repo: Path) -> None:
    assert [line.split()[1] for line in records(repo)[0].dist] == ["a-1.tar.gz", "plain.patch"]
