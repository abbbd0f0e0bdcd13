"""Reading a project: all errors are reported at once, each with its place (``§`` in the texts)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drafts import HEAD, KINDS, Draft

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.project.fields import Section
from stagewright.project.load import find, load

R = Reason

ONE_MISTAKE = {
    # unknown keys and kinds
    "key of a stage": ('[stages.a]\nkind = "root"\n§pakages = []', R.UNKNOWN_KEY),
    "key of a section": ('[stages.a]\nkind = "root"\n[stages.a.inner]\n§levle = 1', R.UNKNOWN_KEY),
    "key of an inline section": ('[stages.a]\nkind = "root"\ninner = { level = 2, §consol = [] }', R.UNKNOWN_KEY),
    "dotted key of a section": ('[stages.a]\nkind = "root"\n§inner.levle = 1', R.UNKNOWN_KEY),
    "key in a list of sections": ('[stages.a]\nkind = "root"\nsteps = [{}, { §x = 1 }]', R.UNKNOWN_KEY),
    "key at the top": ("§formatt = 1", R.UNKNOWN_KEY),
    "table at the top": ('[§stage.a]\nkind = "root"', R.UNKNOWN_KEY),
    "key of a repository": ('[repos.r]\npath = "."\n§prio = 1', R.UNKNOWN_KEY),
    "key of a binhost": ('[binhosts.b]\nuri = "http://b"\nverify = false\n§key = "file"', R.UNKNOWN_KEY),
    "key of a channel": ("[channels.c]\n§accept_licence = []", R.UNKNOWN_KEY),
    "a licence with a space": ('[channels.c]\naccept_license = [§"GPL 2"]', R.INVALID_VALUE),
    "a restriction that licences do not have": ('[channels.c]\naccept_restrict = [§"test"]', R.INVALID_VALUE),
    "restrictions of a private channel": (
        '[channels.c]\ndistributable = false\naccept_restrict = §["fetch"]',
        R.INVALID_VALUE,
    ),
    "key of a seed": ('[seeds.s]\nbootstrap = "debian"\n§sha = 3', R.UNKNOWN_KEY),
    "two kinds of seed": ('[§seeds.s]\nbootstrap = "debian"\nfile = "file"', R.UNKNOWN_KIND),
    "kind of a stage": ('[stages.a]\nkind = §"rot"', R.UNKNOWN_KIND),
    "kind of a wrong type": ("[stages.a]\nkind = §3", R.UNKNOWN_KIND),
    "no kind": ("[§stages.a]\npackages = []", R.MISSING_KEY),
    "no kind of seed": ("[§seeds.a]", R.UNKNOWN_KIND),
    "misspelt kind of seed": ('[seeds.a]\n§bootsrap = "debian"', R.UNKNOWN_KIND),
    "misspelt kind of test": ('[tests.a]\n§boot = "x"', R.UNKNOWN_KIND),
    # types
    "number for a list": ('[stages.a]\nkind = "root"\npackages = §3', R.INVALID_VALUE),
    "number in a list of texts": ('[stages.a]\nkind = "root"\npatterns = ["x", §3]', R.INVALID_VALUE),
    "list for a text": ('[stages.a]\nkind = "root"\nroot = §[]', R.INVALID_VALUE),
    "text for a table": ('[stages.a]\nkind = "root"\nvalues = §"x"', R.INVALID_VALUE),
    "text for a section": ('[stages.a]\nkind = "root"\ninner = §"x"', R.INVALID_VALUE),
    "word for a number": ('[stages.a]\nkind = "root"\n[stages.a.inner]\nlevel = §"many"', R.INVALID_VALUE),
    "word for a switch": ('[stages.a]\nkind = "root"\nquiet = §"maybe"', R.INVALID_VALUE),
    "date for a text": ('[stages.a]\nkind = "root"\nroot = §2026-01-01', R.INVALID_VALUE),
    "a stage that is no table": ("[stages]\n§a = 3", R.INVALID_VALUE),
    "stages that are no table": ("§stages = 3", R.INVALID_VALUE),
    "stages that are an array": ("[[§stages]]\na = 1", R.INVALID_VALUE),
    "one include from outside": ('include = §"/etc/*.toml"', R.INVALID_VALUE),
    "a variable that is no text": ("[variables]\na = §1", R.INVALID_VALUE),
    "variables that are no table": ("variables = §1", R.INVALID_VALUE),
    # missing keys
    "no path of a repository": ("[§repos.r]", R.MISSING_KEY),
    "two origins of a repository": ('[repos.r]\npath = "here"\ngit = §"https://r"', R.INVALID_VALUE),
    "a branch of a folder": ('[repos.r]\npath = "here"\nref = §"main"', R.INVALID_VALUE),
    "a day of a git repository": ('[repos.r]\ngit = "https://r"\ndate = §"20260101"', R.INVALID_VALUE),
    "a branch and a tag": ('[repos.r]\ngit = "https://r"\nref = "a"\ntag = §"b"', R.INVALID_VALUE),
    "half a commit": ('[repos.r]\ngit = "https://r"\ncommit = §"5d3f"', R.INVALID_VALUE),
    "an address that git would take for an option": ('[repos.r]\ngit = §"--upload-pack=x"', R.INVALID_VALUE),
    "a branch that git would take for an option": ('[repos.r]\ngit = "https://r"\nref = §"--x"', R.INVALID_VALUE),
    "a password in an address": ('[repos.r]\ngit = §"https://me:secret@r"', R.INVALID_VALUE),
    "snapshots in the file system": ('[repos.r]\nsquashfs = §"file:///r"', R.INVALID_VALUE),
    "keys of a repository that is not verified": (
        f'[repos.r]\ngit = "https://r"\nkeys = §["{"A" * 40}"]',
        R.INVALID_VALUE,
    ),
    "a key that is no fingerprint": ('[repos.r]\nsquashfs = "https://r"\nkeys = [§"0xABCD"]', R.INVALID_VALUE),
    "a keyring that is not there": ('[repos.r]\nsquashfs = "https://r"\nkeyring = §"none"', R.MISSING_FILE),
    "distfiles that are no table": ("distfiles = §3", R.INVALID_VALUE),
    "a mirror that is no address": ('[distfiles]\nmirrors = [§"here"]', R.INVALID_VALUE),
    "a mirror on this computer": ('[distfiles]\nmirrors = [§"http://localhost:80/x"]', R.INVALID_VALUE),
    "a binhost on this computer": ('[binhosts.b]\nverify = false\nuri = §"http://127.0.0.1:8080"', R.INVALID_VALUE),
    "a service that is no address": ('[fetch]\nallow = [§"localhost:80"]', R.INVALID_VALUE),
    "a service at a number that is no address": ('[fetch]\nallow = [§"127.0.0.256:80"]', R.INVALID_VALUE),
    "a service at every address": ('[fetch]\nallow = [§"0.0.0.0:80"]', R.INVALID_VALUE),
    "a service that needs IPv6": ('[fetch]\nallow = [§"[2001:db8::1]:80"]', R.INVALID_VALUE),
    "an unknown key of distfiles": ("[distfiles]\n§mirror = []", R.UNKNOWN_KEY),
    "no uri of a binhost": ("[§binhosts.b]\nverify = false", R.MISSING_KEY),
    "a binhost without keys": ('binhosts.b = §{ uri = "http://b" }', R.INVALID_VALUE),
    "keys that nothing is verified with": (
        'binhosts.b = §{ uri = "http://b", keys = "file", verify = false }',
        R.INVALID_VALUE,
    ),
    "a word for verify": ('[binhosts.b]\nuri = "http://b"\nverify = §"no"', R.INVALID_VALUE),
    "a binhost in the file system": ('[binhosts.b]\nuri = §"file:///b"\nkeys = "file"', R.INVALID_VALUE),
    "a binhost with a password": ('[binhosts.b]\nuri = §"https://me:it@b/c"\nkeys = "file"', R.INVALID_VALUE),
    # names
    "a strange name": ('[§stages."a b"]\nkind = "root"', R.INVALID_VALUE),
    "a name with a line end": ('[§stages."a\\n"]\nkind = "root"', R.INVALID_VALUE),
    "a name for a file outside": ('[§stages."../a"]\nkind = "root"', R.INVALID_VALUE),
    "stage and seed": ('[seeds.a]\nbootstrap = "debian"\n[§stages.a]\nkind = "root"', R.DUPLICATE_NAME),
    "stage and test": ('[stages.a]\nkind = "root"\n[§tests.a]\nboots = "a"', R.DUPLICATE_NAME),
    "stage twice": ('[stages.a]\nkind = "root"\n[stages.a§]\nkind = "root"', R.DUPLICATE_NAME),
    "key twice": ('[stages.a]\nkind = "root"\nkind = "root"§', R.DUPLICATE_NAME),
    # references
    "no such root": ('[stages.base]\nkind = "root"\n[stages.a]\nkind = "root"\nroot = §"bas"', R.UNKNOWN_NAME),
    "no such stage": ('[tests.t]\nboots = §"x"\n[stages.a]\nkind = "root"', R.UNKNOWN_NAME),
    "no such repository": (
        '[repos.r]\npath = "."\n[stages.a]\nkind = "root"\nrepos = ["r", §"q"]',
        R.UNKNOWN_NAME,
    ),
    "no such binhost": (
        '[binhosts.b]\nuri = "http://b"\nverify = false\n[stages.a]\nkind = "root"\nbinhosts = ["b", §"q"]',
        R.UNKNOWN_NAME,
    ),
    "a seed where a stage must be": (
        '[seeds.s]\nbootstrap = "debian"\n[stages.r]\nkind = "root"\n'
        '[stages.a]\nkind = "image"\nlive = "r"\nboot = §"s"',
        R.UNKNOWN_NAME,
    ),
    # files
    "no folder": ('[stages.a]\nkind = "root"\noverlay = ["here", §"there"]', R.MISSING_FILE),
    "a file for a folder": ('[stages.a]\nkind = "root"\noverlay = [§"file"]', R.MISSING_FILE),
    "a folder for a file": ('[stages.a]\nkind = "root"\nscript = §"here"', R.MISSING_FILE),
    "no file of a seed": ('[seeds.s]\nfile = §"seed.tar"', R.MISSING_FILE),
    "no folder of a repository": ('[repos.r]\npath = §"repo"', R.MISSING_FILE),
    "no keys of a binhost": ('[binhosts.b]\nuri = "http://b"\nkeys = §"gentoo.asc"', R.MISSING_FILE),
    "absolute": ('[stages.a]\nkind = "root"\nscript = §"/etc/passwd"', R.MISSING_FILE),
    "out of the project": ('[stages.a]\nkind = "root"\nscript = §"here/../../file"', R.MISSING_FILE),
    "a name that is too long": (f'[stages.a]\nkind = "root"\nscript = §"{"x" * 300}"', R.MISSING_FILE),
    "a name with a null": ('[stages.a]\nkind = "root"\nscript = §"a\\u0000b"', R.MISSING_FILE),
    # atoms
    "an atom without category": ('[stages.a]\nkind = "root"\npackages = ["a/b", §"vim"]', R.BAD_ATOM),
    "an atom in a section": ('[stages.a]\nkind = "root"\ninner.package = §"a/b c"', R.BAD_ATOM),
    # cycles
    "a stage from itself": ('[§stages.a]\nkind = "root"\nroot = "a"', R.CYCLE),
    # variables
    "no such variable": ('[stages.a]\nkind = "root"\npatterns = ["x", §"{vresion}"]', R.UNKNOWN_NAME),
    "a variable from below": ('[variables]\na = §"{b}"\nb = "1"', R.UNKNOWN_NAME),
    "a variable of ours": ('[variables]\n§date = "1"', R.DUPLICATE_NAME),
    "the version as a variable": ('[variables]\n§version = "1"', R.DUPLICATE_NAME),
    # extends
    "no such parent": ('[stages.a]\nkind = "root"\nextends = §"b"', R.UNKNOWN_NAME),
    "a parent of a wrong type": ('[stages.a]\nkind = "root"\nextends = §["a"]', R.UNKNOWN_NAME),
    "its own parent": ('[stages.a]\nkind = "root"\nextends = §"a"', R.CYCLE),
    "a seed cannot extend": ('[seeds.a]\nbootstrap = "debian"\n§extends = "b"', R.UNKNOWN_KEY),
    # includes
    "nothing to include": ('include = [§"none/*.toml"]', R.MISSING_FILE),
    "an include from outside": ('include = [§"../*.toml"]', R.INVALID_VALUE),
    "an absolute include": ('include = [§"/etc/*.toml"]', R.INVALID_VALUE),
    "an empty include": ('include = [§""]', R.INVALID_VALUE),
    "a bad pattern": ('include = [§"**x.toml"]', R.INVALID_VALUE),
    "a number as include": ("include = [§3]", R.INVALID_VALUE),
}


@pytest.mark.parametrize(("text", "reason"), ONE_MISTAKE.values(), ids=ONE_MISTAKE)
def test_an_error_has_its_reason_and_place(draft: Draft, text: str, reason: Reason) -> None:
    (draft.folder / "here").mkdir()
    (draft.folder / "file").touch()
    draft.write(text).check(reason)


SUGGESTIONS = {
    "key": ('[stages.a]\nkind = "root"\npakages = []', "'packages'"),
    "nested key": ('[stages.a]\nkind = "root"\n[stages.a.inner]\nlevle = 1', "'level'"),
    "key in a list of sections": ('[stages.a]\nkind = "root"\nsteps = [{ levle = 1 }]', "'level'"),
    "kind": ('[stages.a]\nkind = "rooot"', "'root'"),
    "table": ('[stage.a]\nkind = "root"', "'stages'"),
    "kind of seed": ('[seeds.a]\nbootsrap = "debian"', "'bootstrap'"),
    "stage": ('[stages.base]\nkind = "root"\n[stages.a]\nkind = "root"\nroot = "basse"', "'base'"),
    "parent": ('[stages.base]\nkind = "root"\n[stages.a]\nextends = "basse"\nkind = "root"', "'base'"),
    "variable": ('[stages.a]\nkind = "root"\npatterns = ["{vresion}"]', "'version'"),
}


@pytest.mark.parametrize(("text", "word"), SUGGESTIONS.values(), ids=SUGGESTIONS)
def test_the_hint_has_the_nearest_name(draft: Draft, text: str, word: str) -> None:
    (problem,) = draft.write(text).problems()
    assert word in problem.hint


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ('§project = { name = "p" }', R.FORMAT),
        ('format = §2\n[project]\nname = "p"', R.FORMAT),
        ('format = §0\n[project]\nname = "p"', R.FORMAT),
        ('format = §"1"\n[project]\nname = "p"', R.FORMAT),
        ('format = §true\n[project]\nname = "p"', R.FORMAT),
        ('format = §1.0\n[project]\nname = "p"', R.FORMAT),
        ("§format = 1", R.MISSING_KEY),
        ("format = 1\nproject = §3", R.INVALID_VALUE),
        ("format = 1\n[§project]", R.MISSING_KEY),
        ('format = 1\n[project]\nname = §"a b"', R.INVALID_VALUE),
        ('format = 1\n[project]\nname = "p"\n§nme = "p"', R.UNKNOWN_KEY),
        ('format = 1\n[project]\nname = "p"\nversion = §"{x}"', R.UNKNOWN_NAME),
        ('format = 1\n[project]\nname = "p"\nversion = §\'1" {\'', R.INVALID_VALUE),
        ('format = 1\n[project]\nname = "p"\nversion = §"1\\n2"', R.INVALID_VALUE),
        ('format = 1\n[project]\nname = "p"\nversion = §"$(reboot)"', R.INVALID_VALUE),
        ('format = 1\n[project]\nname = "p"\nversion = §"../1"', R.INVALID_VALUE),
        ('format = 1\n[project]\nname = "p"\nsource_date_epoch = §"2026-01-01"', R.INVALID_VALUE),
        ('format = 1\n[project]\nname = "p"\nsource_date_epoch = §-1', R.INVALID_VALUE),
        ('format = 1\n[project]\nname = "p"\nsource_date_epoch = §99999999999999', R.INVALID_VALUE),
        ('format = 1\n[project]\nname = "p"\nsource_date_epoch = §1969-12-31', R.INVALID_VALUE),
        ('format = 1\n[project]\nname = "p"\nsource_date_epoch = §true', R.INVALID_VALUE),
    ],
)
def test_the_tables_of_the_project_are_read(draft: Draft, head: str, reason: Reason) -> None:
    draft.write("", head=head)
    draft.expected = draft.expected or [draft.problems()[0].place]  # type: ignore[list-item]
    draft.check(reason, hints=reason is not R.INVALID_VALUE)


def test_an_empty_project_lacks_format_and_name(draft: Draft) -> None:
    draft.write("", head="")
    assert {problem.reason for problem in draft.problems()} == {R.FORMAT, R.MISSING_KEY}


def test_all_errors_are_reported_sorted_by_place(draft: Draft) -> None:
    draft.write(
        """
        include = ["more.toml"]
        [tests.t]
        boots = §"nothing"
        [stages.b]
        kind = §"x"
        [stages.c]
        kind = "root"
        script = §"nothing"
        packages = [§"vim"]
        [stages.a]
        kind = "root"
        §y = 1
        """
    )
    draft.write("[§stages.b]\nkind = 'root'\n[stages.d]\nkind = 'image'\nlive = §'x'\nboot = §'y'\n", "more.toml")
    draft.check(
        *(R.DUPLICATE_NAME, R.UNKNOWN_NAME, R.UNKNOWN_NAME),
        *(R.UNKNOWN_NAME, R.UNKNOWN_KIND, R.MISSING_FILE, R.BAD_ATOM, R.UNKNOWN_KEY),
    )


def test_all_missing_keys_of_a_table_are_reported(draft: Draft) -> None:
    draft.write("[§§stages.a]\nkind = 'image'\n").check(R.MISSING_KEY, R.MISSING_KEY)


def test_all_unknown_variables_of_a_text_are_reported(draft: Draft) -> None:
    draft.write("[stages.a]\nkind = 'root'\npatterns = [§§'{x}{y}']").check(R.UNKNOWN_NAME, R.UNKNOWN_NAME)


def test_a_cycle_is_reported_with_all_its_entries(draft: Draft) -> None:
    draft.write(
        "".join(f'[stages.{name}]\nkind = "root"\nroot = "{root}"\n' for name, root in ["ab", "bc", "ca", "xy", "yx"])
    )
    first, second = draft.problems()
    assert first.reason is second.reason is R.CYCLE
    for problem, names in ((first, "abc"), (second, "xy")):
        way = problem.message.partition(": ")[2].split(" -> ")
        assert way[0] == way[-1]
        assert sorted(way[1:]) == sorted(names)
        assert problem.place
        assert problem.place.line > 0
        assert problem.hint


def test_links_out_of_the_project_are_allowed(draft: Draft, tmp_path: Path) -> None:
    """The hint for paths outside of the project recommends a link."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (draft.folder / "overlay").symlink_to(outside)
    assert draft.write("[stages.a]\nkind = 'root'\noverlay = ['overlay']").load().entries["stages"]["a"]


# includes


def test_includes(draft: Draft) -> None:
    draft.write('include = ["stages/*.toml", "more.toml"]')
    draft.write('[stages.a]\nkind = "root"\nroot = "s"', "stages/a.toml")
    draft.write('[stages.b]\nkind = "root"\nroot = "a"', "stages/b.toml")
    draft.write('[seeds.s]\nbootstrap = "debian"', "more.toml")
    project = draft.load()
    assert list(project.entries["stages"]) == ["a", "b"]
    assert project.entries["stages"]["b"].place(("root",)).file.name == "b.toml"


def test_a_file_that_two_patterns_match_is_read_once(draft: Draft) -> None:
    draft.write('include = ["*.toml", "m*.toml"]')  # the first matches the main file too
    draft.write('[stages.a]\nkind = "root"', "more.toml")
    assert list(draft.load().entries["stages"]) == ["a"]


def test_other_keys_in_included_files_are_rejected(draft: Draft) -> None:
    draft.write('include = ["more.toml"]')
    draft.write('§include = []\n§format = 1\n[§project]\nname = "q"\n[§typo.x]\n', "more.toml")
    draft.check(*[R.UNKNOWN_KEY] * 4)


def test_a_name_that_two_files_define_is_reported(draft: Draft) -> None:
    draft.write('include = ["1.toml", "2.toml"]')
    draft.write('[stages.a]\nkind = "root"', "1.toml")
    draft.write('[§stages.a]\nkind = "root"', "2.toml")
    (problem,) = draft.check(R.DUPLICATE_NAME)
    assert str(draft.folder / "1.toml") + ":1:2" in problem.message


def test_a_broken_included_file_hides_no_other_errors(draft: Draft) -> None:
    draft.write('include = ["1.toml", "2.toml", "folder.toml"]\n[stages.a]\nkind = §"x"')
    draft.write("a = §", "1.toml")
    (draft.folder / "2.toml").symlink_to("2.toml")
    (draft.folder / "folder.toml").mkdir()
    assert sorted(problem.reason for problem in draft.problems()) == sorted(
        [R.SYNTAX, R.MISSING_FILE, R.SYNTAX, R.UNKNOWN_KIND]
    )


# variables


def test_variables(draft: Draft) -> None:
    draft.write(
        r"""
        [variables]
        flavour = "mint"
        label = "{name}-{flavour}"
        [stages.a]
        kind = "root"
        patterns = ["{name}", "{version}", "{arch}", "{date}", "{label}", "{{label}}", "${label}", "{1,2}", "{}", "a{"]
        inner = { console = ["{flavour}"] }
        values = { X = "{{{flavour}}}" }
        """,
        head="format = 1\n[project]\nname = 'p'\nversion = '{date}-{flavour}'\nsource_date_epoch = 2026-11-20\n",
    )
    stage = draft.load().entries["stages"]["a"].model.model_dump()
    assert stage["patterns"] == [
        *("p", "20261120-mint", "amd64", "20261120", "p-mint"),
        *("{label}", "${label}", "{1,2}", "{}", "a{"),
    ]
    assert stage["inner"]["console"] == ["mint"]
    assert stage["values"] == {"X": "{mint}"}


@pytest.mark.parametrize(
    ("written", "epoch"),
    [
        ("0", 0),
        ("1763596800", 1763596800),
        ("2025-11-20", 1763596800),
        ("2025-11-20T01:00:00", 1763600400),
        ("2025-11-20T01:00:00+01:00", 1763596800),
    ],
)
def test_the_time_stamp(draft: Draft, written: str, epoch: int) -> None:
    draft.write("", head=f"format = 1\n[project]\nname = 'p'\nsource_date_epoch = {written}\n")
    assert draft.load().epoch == epoch


# extends


def test_extends_merges_tables_and_replaces_values(draft: Draft) -> None:
    draft.write(
        """
        [stages.a]
        kind = "root"
        quiet = true
        packages = ["a/a", "a/b"]
        patterns = ["one"]
        values = { X = "1", Y = "2" }
        inner = { level = 3, console = ["tty0"] }
        [stages.b]
        extends = "a"
        packages = ["b/a", "...", "b/b"]
        patterns = ["two"]
        values = { Y = "3", Z = "4" }
        inner.console = ["...", "tty1"]
        [stages.c]
        extends = "b"
        packages = ["...", "c/a", "..."]
        quiet = false
        steps = [{ console = ["x"] }]
        """
    )
    stages = {name: entry.model.model_dump() for name, entry in draft.load().entries["stages"].items()}
    assert stages["b"]["packages"] == ["b/a", "a/a", "a/b", "b/b"]
    assert stages["b"]["patterns"] == ["two"]
    assert stages["b"]["values"] == {"X": "1", "Y": "3", "Z": "4"}
    assert stages["b"]["inner"] == {"level": 3, "console": ["tty0", "tty1"], "package": None}
    assert stages["b"]["quiet"]
    assert stages["c"]["packages"] == [*stages["b"]["packages"], "c/a", *stages["b"]["packages"]]
    assert not stages["c"]["quiet"]
    assert stages["a"]["packages"] == ["a/a", "a/b"]


def test_extends_where_the_parent_has_nothing_to_inherit(draft: Draft) -> None:
    draft.write(
        '[stages.a]\nkind = "root"\n'
        '[stages.b]\nextends = "a"\npatterns = ["...", "x"]\n[stages.b.inner]\nconsole = ["...", "y"]'
    )
    model = draft.load().entries["stages"]["b"].model.model_dump()
    assert (model["patterns"], model["inner"]["console"]) == (["x"], ["y"])


INHERITED = {
    "a parent's mistake is reported once, where it is": (
        '[stages.a]\nkind = "root"\npackages = ["a/a", §"bad"]\n'
        '[stages.b]\nextends = "a"\n[stages.c]\nextends = "b"\npackages = ["c/c", "..."]',
        R.BAD_ATOM,
    ),
    "a child's mistake after what it inherits": (
        '[stages.a]\nkind = "root"\npackages = ["a/a", "a/b", "a/c"]\n'
        '[stages.b]\nextends = "a"\npackages = ["...", "b/b", §"bad"]',
        R.BAD_ATOM,
    ),
    "a child's mistake before what it inherits": (
        '[stages.a]\nkind = "root"\npackages = ["a/a", "a/b"]\n'
        '[stages.b]\nextends = "a"\npackages = ["b/b", §"bad", "..."]',
        R.BAD_ATOM,
    ),
    "a key that only the parent's kind knows": (
        '[stages.r]\nkind = "root"\n[stages.a]\nkind = "root"\n§quiet = true\n'
        '[stages.b]\nextends = "a"\nkind = "image"\nlive = "r"\nboot = "r"',
        R.UNKNOWN_KEY,
    ),
    "a key in a table that both write": (
        '[stages.a]\nkind = "root"\n[stages.a.inner]\nlevel = 1\n'
        '[stages.b]\nextends = "a"\n[stages.b.inner]\n§levle = 2',
        R.UNKNOWN_KEY,
    ),
    "a list of the parent that the child replaces": (
        '[stages.a]\nkind = "root"\npatterns = ["a", "b"]\n[stages.b]\nextends = "a"\npatterns = [§3]',
        R.INVALID_VALUE,
    ),
    "a table of the parent that the child replaces": (
        '[stages.a]\nkind = "root"\n[stages.a.inner]\nlevel = 1\n[stages.b]\nextends = "a"\ninner = §3',
        R.INVALID_VALUE,
    ),
}


@pytest.mark.parametrize(("text", "reason"), INHERITED.values(), ids=INHERITED)
def test_inherited_values_keep_their_places(draft: Draft, text: str, reason: Reason) -> None:
    draft.write(text).check(reason)


def test_a_cycle_of_extends_is_reported(draft: Draft) -> None:
    draft.write("".join(f'[stages.{a}]\nkind = "root"\nextends = "{b}"\n' for a, b in ["ab", "bc", "ca"]))
    (problem,) = draft.problems()
    assert problem.reason is R.CYCLE
    assert problem.message.count(" -> ") == 3
    assert problem.place
    assert problem.place.column == 11


@pytest.mark.parametrize(
    "setting", ['inner.level = "3"', "inner.level = true", "inner.level = 2.0", 'quiet = "yes"', "quiet = 1"]
)
def test_values_of_another_type_are_rejected_and_not_converted(draft: Draft, setting: str) -> None:
    assert draft.write(f'[stages.a]\nkind = "root"\n{setting}').problems()


# finding a project


def test_a_project_is_found_from_its_subfolders(draft: Draft) -> None:
    below = draft.write("").folder / "a" / "b"
    below.mkdir(parents=True)
    assert find(below) == draft.folder


def test_a_missing_project_is_reported(tmp_path: Path) -> None:
    (tmp_path / "stagewright.toml").mkdir()
    with pytest.raises(StagewrightError) as caught:
        find(tmp_path)
    assert caught.value.reason is R.NO_PROJECT
    assert caught.value.hint


def test_loading_a_folder_without_a_project_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        load(tmp_path, KINDS)
    assert caught.value.reason is R.MISSING_FILE


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: needs root to become somebody who may not read")
def test_an_unreadable_file_is_reported(draft: Draft) -> None:
    draft.write("").folder.joinpath("stagewright.toml").chmod(0)
    for folder in [draft.folder, *draft.folder.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        with pytest.raises(StagewrightError) as caught:
            load(draft.folder, KINDS)
    finally:
        os.seteuid(0)
    assert caught.value.reason is R.MISSING_FILE
    assert caught.value.hint


# nothing else is ever raised


@pytest.mark.parametrize("table", ["repos", "binhosts", "seeds", "stages", "tests", "project", "variables", "include"])
@pytest.mark.parametrize(
    "value", ["3", '"x"', "[]", "[[]]", "{}", "{ a = 1 }", "{ a = {} }", "{ a = { a = [] } }", "nan"]
)
def test_any_table_is_read_or_rejected(draft: Draft, table: str, value: str) -> None:
    head = "format = 1\n" if table == "project" else HEAD
    draft.write(f"{table} = {value}\n", head=head)
    for problem in draft.problems():
        assert problem.place
        assert problem.place.file.name == "stagewright.toml"
        assert problem.place.line > 0


def test_a_kind_may_have_no_settings(draft: Draft) -> None:
    class Plain(Section):
        pass

    draft.write('[stages.a]\nkind = "plain"')
    assert load(draft.folder, {**KINDS, "stages": {"plain": Plain}}).entries["stages"]["a"].kind == "plain"
    draft.write('[stages.a]\nkind = "plain"\nx = 1')
    with pytest.raises(ProblemsError):
        load(draft.folder, {**KINDS, "stages": {"plain": Plain}})
