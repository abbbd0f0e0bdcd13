"""Notes of a release: changes, trends, growth, the pin of the release before, and texts that contain no markup."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from signed_releases import DATE, DAY

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.kinds.registry import graph_of, kinds
from stagewright.kinds.releases.advisories import ROLE, advisories_of
from stagewright.kinds.releases.noted import NotedTest, boot_times, check_growths, refusals
from stagewright.kinds.releases.previous import PreviousPin, PreviousRelease, previous_pin
from stagewright.portage.installed import Package
from stagewright.project.load import load
from stagewright.publish.pages import Pages
from stagewright.release.bill import Bill, Component, Image
from stagewright.release.manifest import write_manifest
from stagewright.release.notes import (
    LONGEST_TREND,
    Advisories,
    Advisory,
    BootTime,
    Known,
    NotedArtifact,
    NotedPackage,
    NotedSeed,
    Notes,
    Source,
    kernels_of,
    noted_packages,
)
from stagewright.release.notes_files import write_notes
from stagewright.release.pointer import Pointer, pointer_name
from stagewright.release.release_folder import DESCRIPTION, Description, sizes_of, write_lists, write_text
from stagewright.release.rendering import in_markdown
from stagewright.release.size_limits import check_size, packages_in
from stagewright.release.verify_release import TrustedKeys

MIB = 1 << 20


def package(name: str, version: str, size: int = 0, slot: str = "0") -> NotedPackage:
    return NotedPackage(kind="ebuild", name=name, version=version, slot=slot, size=size)


def iso(size: int, *packages: NotedPackage, stage: str = "iso") -> NotedArtifact:
    return NotedArtifact(stage=stage, kind="livecd-stage3", name=f"{stage}.iso", size=size, packages=packages)


def notes(version: str, *artifacts: NotedArtifact, date: int = DATE) -> Notes:
    return Notes(project="demo", release="live", version=version, date=date, artifacts=artifacts)


OLD = notes(
    "1.0",
    iso(
        100 * MIB,
        package("a/gone", "1"),
        package("a/same", "1"),
        package("a/up", "1", 5),
        package("a/two", "1", slot="1"),
    ),
)
NEW = notes(
    "1.1",
    iso(
        110 * MIB,
        package("a/new", "1", 9),
        package("a/same", "1"),
        package("a/up", "2", 7),
        package("a/two", "2", slot="2"),
    ),
    date=DATE + DAY,
)


def test_changes_and_growth_since_the_release_before() -> None:
    found = NEW.since(OLD, "ab" * 32)
    assert found.previous and (found.previous.version, found.previous.digest) == ("1.0", "ab" * 32)
    assert found.changes
    assert [one.name for one in found.changes.added] == ["a/new"]
    assert [one.name for one in found.changes.removed] == ["a/gone"]
    assert [(one.name, one.old, one.new) for one in found.changes.updated] == [("a/two", "1", "2"), ("a/up", "1", "2")]
    assert found.artifacts[0].growth == 10 * MIB
    assert [(one.version, one.sizes) for one in found.trend] == [("1.1", {"iso": 110 * MIB})], "1.0 has no trend"
    first = OLD.since(None, "")
    assert first.previous is None and first.changes is None
    again = NEW.since(first, "ab" * 32)
    assert [(one.version, one.packages["iso"]) for one in again.trend] == [("1.0", 4), ("1.1", 4)]
    assert Notes.parse(again.text()) == again


def test_artifacts_with_different_versions_of_a_package_have_both_in_the_changes() -> None:
    both = notes("2", iso(1, package("a/x", "1")), iso(1, package("a/x", "2"), stage="other"))
    changes = both.since(notes("1", iso(1, package("a/x", "1"))), "ab" * 32).changes
    assert changes and [(one.old, one.new) for one in changes.updated] == [("1", "1, 2")]


def test_the_trend_has_a_largest_length() -> None:
    last = OLD.since(None, "")
    for number in range(LONGEST_TREND + 5):
        last = notes(f"2.{number}").since(last, "ab" * 32)
    assert len(last.trend) == LONGEST_TREND and last.trend[-1].version == f"2.{LONGEST_TREND + 4}"


def test_packages_and_kernels_of_a_bill() -> None:
    kernel = Component(kind="ebuild", name="sys-kernel/k", version="6.6", slot="6.6", images=(Image.KERNEL,), size=7)
    again = kernel.model_copy(update={"images": (Image.MODULES,), "license": "other"})
    bill = Bill(components=(kernel, again, Component(kind="deb", name="linux", version="6.1")))
    assert [(one.name, one.size) for one in noted_packages(bill)] == [("linux", 0), ("sys-kernel/k", 7)]
    odd = Component(kind="ebuild", name="x" * 5000, version="1", size=-5)
    assert [(len(one.name), one.size) for one in noted_packages(Bill(components=(odd,)))] == [(1000, 0)]
    assert kernels_of([bill]) == ("sys-kernel/k 6.6",)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": 2}', NEW.text().replace('"1.1"', '"../x"'), "[" * 100_000]
)
def test_other_texts_are_not_notes(text: str) -> None:
    with pytest.raises(StagewrightError) as raised:
        Notes.parse(text)
    assert raised.value.reason is Reason.FORMAT


# limits


def artifact(folder: Path, size: int, *packages: Package) -> Path:
    folder.mkdir()
    (folder / "x.iso").write_bytes(b"x" * size)
    write_manifest(folder / "x.iso", {}, packages)
    return folder


def test_an_artifact_within_its_size(tmp_path: Path) -> None:
    check_size("iso", artifact(tmp_path / "tree", 2048), "x.iso", "2K")


def test_an_artifact_that_is_too_large_names_its_largest_packages(tmp_path: Path) -> None:
    large = Package("a/large-3", "0", "demo", (), "MIT", 5 * MIB)
    small = Package("a/small-1", "0", "demo", (), "MIT", 5)
    tree = artifact(tmp_path / "tree", 2049, small, large)
    with pytest.raises(StagewrightError) as raised:
        check_size("iso", tree, "x.iso", "2K")
    error = raised.value
    assert error.reason is Reason.TOO_LARGE
    assert error.message == "iso: 2049 bytes, which is 1 bytes more than size = '2K'"
    lines = error.detail.splitlines()
    assert lines[1].split() == ["5.0", "MiB", "a/large-3"] and lines[2].split()[:2] == ["5", "bytes"]


def test_a_folder_that_is_too_large_names_its_largest_files(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot/gentoo").write_bytes(b"x" * 900)
    (tmp_path / "image").write_bytes(b"x" * 200)
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(StagewrightError) as raised:
        check_size("pxe", tmp_path, None, "1K")
    assert [line.split()[-1] for line in raised.value.detail.splitlines()[1:]] == ["boot/gentoo", "image", "link"]
    assert packages_in(tmp_path) == []


def test_growth_is_limited_in_percent() -> None:
    check_growths(NEW, OLD, {"iso": "10%", "": "10%", "new": "0%"})
    with pytest.raises(ProblemsError) as raised:
        check_growths(NEW, OLD, {"iso": "9.99%", "": "5%"})
    one, whole = raised.value.problems
    assert one.reason is whole.reason is Reason.TOO_LARGE
    expected = "iso: grew by 10.0 MiB (10.0%) since version 1.0, to 110.0 MiB; grow = '9.99%' allows 10.0 MiB"
    assert one.message == expected
    assert [line.split(maxsplit=2)[2] for line in one.detail.splitlines()[1:]] == ["a/new (1, new)", "a/up (1 -> 2)"]
    assert whole.message.startswith("demo/live: grew by 10.0 MiB")


# the release before


def published(root: Path, *versions: Notes) -> list[Notes]:
    """Publish versions in this order, each with notes since the one before it."""
    made: list[Notes] = []
    for one in versions:
        folder = root / one.version
        folder.mkdir(parents=True)
        digest = pin_of(root, made[-1]).sha256 if made else ""
        made.append(one.since(made[-1] if made else None, digest))
        write_notes(made[-1], folder, None)
        project = {"name": "demo", "version": one.version, "source_date_epoch": one.date}
        described = Description(project, "live", one.version, one.date, [], sizes_of(folder))
        write_text(folder / DESCRIPTION, described.text(), one.date)
        pointer = Pointer("demo/live", one.version, one.date, write_lists(folder, one.date), expires=one.date)
        (root / pointer_name("live")).write_text(pointer.text(), encoding="utf-8")
    return made


def pin_of(root: Path, one: Notes) -> PreviousPin:
    lines = (root / one.version / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    (digest,) = (line.split()[0] for line in lines if line.endswith("  notes.json"))
    return PreviousPin(version=one.version, sha256=digest)


def look_up(before: PreviousRelease, own: str, known: PreviousPin | None = None) -> PreviousPin:
    return before.look_up(own, known or PreviousPin(), [].append)


@pytest.fixture
def before(tmp_path: Path) -> PreviousRelease:
    return PreviousRelease(str(tmp_path / "www"), "demo/live", tmp_path / "cache", TrustedKeys())


def test_the_newest_version_is_pinned_and_read(before: PreviousRelease, tmp_path: Path) -> None:
    second = published(tmp_path / "www", OLD, NEW)[-1]
    pin = look_up(before, "1.2")
    assert pin == pin_of(tmp_path / "www", second) and before.read(pin) == second
    (tmp_path / "www/1.1/notes.json").unlink()
    assert before.read(pin) == second, "the store keeps it"


def test_a_version_that_is_built_again_has_the_same_release_before(before: PreviousRelease, tmp_path: Path) -> None:
    first, second = published(tmp_path / "www", OLD, NEW)
    assert look_up(before, second.version) == pin_of(tmp_path / "www", first)
    published(tmp_path / "other", OLD)
    assert (
        look_up(PreviousRelease(str(tmp_path / "other"), "demo/live", tmp_path, TrustedKeys()), "1.0") == PreviousPin()
    )


def test_without_a_release_before_the_notes_begin(before: PreviousRelease, tmp_path: Path) -> None:
    said: list[str] = []
    assert before.look_up("1.0", PreviousPin(), said.append) == PreviousPin()
    assert "no earlier release" in said[0]
    with pytest.raises(StagewrightError) as raised:
        look_up(before, "1.1", PreviousPin(version="1.0", sha256="ab" * 32))
    assert raised.value.reason is Reason.NOT_FOUND, "the lock knows one"


def test_another_release_is_not_the_release_before(tmp_path: Path) -> None:
    published(tmp_path / "www", OLD)
    with pytest.raises(StagewrightError) as raised:
        look_up(PreviousRelease(str(tmp_path / "www"), "mine/live", tmp_path / "cache", TrustedKeys()), "1.1")
    assert raised.value.reason is Reason.WRONG_NAME


def test_other_notes_than_the_pinned_ones_are_refused(before: PreviousRelease, tmp_path: Path) -> None:
    published(tmp_path / "www", OLD)
    pin = look_up(before, "1.1")
    for path in (tmp_path / "cache").glob("*/*"):
        path.write_bytes(b"other")
    (tmp_path / "www/1.0/notes.json").write_text(NEW.text(), encoding="utf-8")
    with pytest.raises(StagewrightError) as raised:
        before.read(pin)
    assert raised.value.reason is Reason.DIGEST_MISMATCH
    with pytest.raises(StagewrightError) as raised:
        look_up(before, "1.1")
    assert raised.value.reason is Reason.DIGEST_MISMATCH


@pytest.mark.parametrize(
    "data", [None, {"version": "1.0"}, {"version": "../x", "sha256": "ab" * 32}, {"version": "1", "sha256": "x"}]
)
def test_a_lock_without_a_whole_pin_is_stale(data: dict[str, str] | None) -> None:
    with pytest.raises(StagewrightError) as raised:
        previous_pin(data)
    assert raised.value.reason is Reason.LOCK_STALE


# tests and advisories


def test_boot_times_and_refusals_come_from_the_tests() -> None:
    facts = {"seconds": 60.04, "milestones": {"kernel": 3.14, "login prompt": 50.0, "curl --user me:secret": 52.0}}
    stages = {"tests.000": facts, "tests.001": {"seconds": 9, "milestones": {}}, "tests.002": facts, "tests.003": {}}
    tests = {role: NotedTest(name=role[-1], starts="iso") for role in stages}
    tests["tests.002"] = NotedTest(name="2", starts="iso", refused="firmware uefi-secure")
    work: Any = SimpleNamespace(meta=lambda role: SimpleNamespace(facts=stages[role]))
    first, second = boot_times(work, tests)
    assert (first.seconds, dict(first.milestones)) == (50.0, {"kernel": 3.1, "login prompt": 50.0})
    assert (second.test, second.seconds) == ("1", 9.0)
    (refused,) = refusals(tests)
    assert refused == Known(name="iso", text="firmware uefi-secure refuses to start it (test 2)")


FOUND = {"id": "202601-01", "title": "a\n b", "severity": "high", "packages": [0, 1]}


def advisor(folder: Path, answer: str) -> Any:
    """A work whose root gives an answer, and a repository with advisories."""
    (folder / "repo/metadata/glsa").mkdir(parents=True, exist_ok=True)
    root = SimpleNamespace(run=lambda *words, **more: SimpleNamespace(stdout=f"a warning\n{answer}\n"))
    node = SimpleNamespace(files=SimpleNamespace(repos={"main": folder / "repo"}))
    said: list[str] = []
    return SimpleNamespace(
        node=node, inputs={ROLE: None}, folder=folder, mount=lambda role: root, phase=said.append, notice=said.append
    )


def test_advisories_are_fixed_if_they_are_about_the_release_before_only(tmp_path: Path) -> None:
    now, then = notes("2", iso(1, package("a/b", "2"), package("c/d", "1"))), notes("1", iso(1, package("a/b", "1")))
    only_then = {**FOUND, "id": "202601-02", "packages": [2]}
    answer = json.dumps({"advisories": [only_then, {**FOUND, "packages": [0, 2]}], "unreadable": ["x: broken"]})
    found = advisories_of(advisor(tmp_path, answer), now, then, ["amd64"])
    assert found and [(one.id, one.title, one.packages) for one in found.open] == [("202601-01", "a b", ("a/b-2",))]
    assert [(one.id, one.packages) for one in found.fixed] == [("202601-02", ("a/b-1",))]
    asked = json.loads((tmp_path / "advisories.json").read_text(encoding="utf-8"))
    assert asked["packages"] == [["a/b-2", "0"], ["c/d-1", "0"], ["a/b-1", "0"]]
    work = advisor(tmp_path, answer)
    work.inputs = {}
    assert advisories_of(work, now, then, []) is None, "no root with Portage"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "null",
        '{"advisories": []}',
        json.dumps({"advisories": [{**FOUND, "id": "../../x"}], "unreadable": []}),
        json.dumps({"advisories": [{**FOUND, "packages": [99]}], "unreadable": []}),
        json.dumps({"advisories": [{**FOUND, "packages": ["0"]}], "unreadable": []}),
        json.dumps({"advisories": [{**FOUND, "more": 1}], "unreadable": []}),
    ],
)
def test_a_root_that_gives_other_answers_is_reported(answer: str, tmp_path: Path) -> None:
    now = notes("2", iso(1, package("a/b", "2"), package("c/d", "1")))
    with pytest.raises(StagewrightError) as raised:
        advisories_of(advisor(tmp_path, answer), now, None, [])
    assert raised.value.reason is Reason.BUILD_FAILED


# the texts

HOSTILE = [
    "<script>alert(1)</script>",
    "](javascript:x) [a](http://e.org)",
    "` | <img src=x> | `",
    'x" onload="y',
    "a\n\n# title\n- b\u2028c\x00",
    "https://e.org www.e.org @someone #1",
]


class Tags(HTMLParser):
    """The tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))


def full(word: str) -> Notes:
    """Notes with a word of others everywhere."""
    made = notes("1.1", iso(5, package(word, word), package("a/b", "2")), date=DATE)
    made = made.since(notes("1.0", iso(4, package("a/b", word), package("c/d", word))), "ab" * 32)
    update = {
        "source": Source(url=word, commit=word, changed=True),
        "kernels": (word,),
        "seeds": (NotedSeed(name=word, kind=word, facts={word: word}),),
        "advisories": Advisories(open=(Advisory(id="202601-01", title=word, severity=word, packages=(word,)),)),
        "boots": (BootTime(test=word, starts=word, seconds=12.34),),
        "refusals": (Known(name=word, text=word),),
        "differences": (Known(name=word, text=word),),
    }
    return made.model_copy(update=update)


@pytest.mark.parametrize("word", HOSTILE)
def test_words_of_others_are_never_markup(word: str, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    write_notes(full(word), tmp_path, None)
    write_notes(full("plain"), tmp_path / "plain", None)
    page, same = (
        Tags((folder / "notes.html").read_text(encoding="utf-8")) for folder in (tmp_path, tmp_path / "plain")
    )
    assert page.found == same.found
    text = (tmp_path / "notes.md").read_text(encoding="utf-8")
    assert in_markdown(word) in text
    lines = [(tmp_path / name / "notes.md").read_text(encoding="utf-8").count("\n") for name in ("", "plain")]
    assert lines[0] == lines[1] and "\x00" not in text and "\u2028" not in text


def test_markup_is_escaped_in_markdown() -> None:
    assert in_markdown("a_1.2-r3 (x)") == "a\\_1.2-r3 (x)"
    assert in_markdown("[x](http://e)<b>`|") == "\\[x\\](http\\://e)\\<b\\>\\`\\|"
    assert in_markdown("- one\n# two") == "\\- one \\# two" and in_markdown("==") == "\\=="
    assert in_markdown("-5 MiB") == "-5 MiB"
    assert in_markdown("1. www.e.org a@b") == "1\\. www\\.e.org a\\@b"
    assert in_markdown("1.2 and 12) x") == "1.2 and 12) x" and in_markdown("12) x") == "12\\) x"


def test_the_notes_have_all_facts(tmp_path: Path) -> None:
    made = full("word")
    fixed = Advisory(id="202512-07", title="hello: bad", packages=("app-misc/hello-1",))
    made = made.model_copy(update={"advisories": Advisories(fixed=(fixed,))})
    write_notes(made, tmp_path, None)
    for name in ("notes.md", "notes.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        for fact in (
            "demo/live 1.1",
            "2024-10-04",
            "commit",
            "5 bytes",
            "202512-07",
            "hello: bad",
            "12.3",
            "1.0",
            "word → 2",
        ):
            assert fact in text, (name, fact)
    assert json.loads((tmp_path / "notes.json").read_text(encoding="utf-8"))["advisories"]["open"] == []
    assert (tmp_path / "notes.md").stat().st_mtime == DATE


def test_a_project_has_its_own_templates(tmp_path: Path) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "notes.md").write_text("{{ notes.version }} by *us*: {{ notes.kernels[0] }}", encoding="utf-8")
    (tmp_path / "out").mkdir()
    write_notes(full("a*b"), tmp_path / "out", templates)
    assert (tmp_path / "out/notes.md").read_text(encoding="utf-8") == "1.1 by *us*: a\\*b"
    assert "<h2>Kernel</h2>" in (tmp_path / "out/notes.html").read_text(encoding="utf-8")
    for wrong in ("{{ notes.nothing }}", "{% if %}", "{{ 1 / 0 }}"):
        (templates / "notes.md").write_text(wrong, encoding="utf-8")
        with pytest.raises(StagewrightError) as raised:
            write_notes(full("x"), tmp_path / "out", templates)
        assert raised.value.reason is Reason.INVALID_VALUE
        assert raised.value.message.startswith("notes.templates/notes.md: ")


def test_the_page_of_all_versions_leads_to_the_notes() -> None:
    one = Description({"name": "demo"}, "live", "1.0", DATE, [], {"notes.html": 1})
    two = Description({"name": "demo"}, "live", "0.9", DATE, [], {})
    pages = Pages("https://e.org/live")([one, two])
    assert '<a href="1.0/notes.html">Notes</a>' in pages["index.html"] and "0.9/notes" not in pages["index.html"]
    assert "<link>https://e.org/live/1.0/notes.html</link>" in pages["feed.xml"]


# settings

PROJECT = """
format = 1
project = { name = "p", version = "1" }
[seeds.base]
file = "base.tar"
[stages.packed]
kind = "tarball"
root = "base"
ARTIFACT
[releases.live]
artifacts = ["packed"]
RELEASE
"""


@pytest.mark.parametrize(
    ("artifact", "release", "line", "words"),
    [
        ('size = "big"', "", 9, 'size: invalid value "big"'),
        ("size = 5", "", 9, "size"),
        ('grow = "5"', 'previous = "www"', 9, 'grow: invalid value "5"'),
        ('grow = "-5%"', 'previous = "www"', 9, 'grow: invalid value "-5%"'),
        ('grow = "5%"', "", 9, "packed.grow: no release with `previous` has this artifact"),
        ("", 'grow = "5%"', 12, "grow: it needs `previous`"),
        ("", 'previous = "sftp://e.org/x"', 12, "previous: invalid value"),
        ("", 'previous = "https://me:secret@e.org/x"', 12, "previous: invalid value"),
        ("", 'notes.templates = "none"', 12, "none"),
        ("", 'notes.template = "none"', 12, "template"),
    ],
)
def test_wrong_settings_are_reported_with_their_line(
    artifact: str, release: str, line: int, words: str, tmp_path: Path
) -> None:
    (tmp_path / "base.tar").touch()
    text = PROJECT.replace("ARTIFACT", artifact).replace("RELEASE", release)
    (tmp_path / "stagewright.toml").write_text(text, encoding="utf-8")
    with pytest.raises((StagewrightError, ProblemsError)) as raised:
        graph_of(load(tmp_path, kinds()))
    problems = raised.value.problems if isinstance(raised.value, ProblemsError) else [raised.value]
    assert len(problems) == 1 and words in problems[0].message
    place = problems[0].place
    assert place and (place.file.name, place.line) == ("stagewright.toml", line)


def test_known_differences_are_in_the_notes(tmp_path: Path) -> None:
    (tmp_path / "base.tar").touch()
    known = '[unreproducible.time]\npackages = ["app-misc/x"]\nfiles = ["/usr/x*"]\nwhy = "a time stamp"\n'
    text = PROJECT.replace("ARTIFACT", "").replace("RELEASE", known)
    (tmp_path / "stagewright.toml").write_text(text, encoding="utf-8")
    context = graph_of(load(tmp_path, kinds())).nodes["release:live"].context.for_key()
    assert context["notes"]["differences"] == [["app-misc/x, /usr/x*", "a time stamp"]]


def test_limits_of_growth_change_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "base.tar").touch()

    def settings(artifact: str) -> dict[str, object]:
        text = PROJECT.replace("ARTIFACT", artifact).replace("RELEASE", 'previous = "www"')
        (tmp_path / "stagewright.toml").write_text(text, encoding="utf-8")
        graph = graph_of(load(tmp_path, kinds()))
        context = graph.nodes["release:live"].context
        return {**graph.nodes["packed"].settings.for_key(), "limits": context.for_key()["notes"]["grow"]}

    plain, limited = settings(""), settings('grow = "5%"')
    assert limited == {**plain, "limits": {"packed": "5%"}}
    assert settings('size = "5M"') == {**plain, "size": "5M"}
