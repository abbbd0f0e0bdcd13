"""A stage4 in a project file: errors are reported with their place, and its files are part of the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.kinds.registry import graph_of, kinds
from stagewright.project.load import load
from stagewright.root.requirements import MissingRequirement, asked_early, raise_if_missing

HEAD = """format = 1
project = { name = "p", version = "1" }
[seeds.s]
file = "seed.tar"
[stages.x]
kind = "stage4"
root = "s"
"""


def project(folder: Path, text: str) -> Path:
    (folder / "seed.tar").touch()
    (folder / "keys").mkdir(exist_ok=True)
    (folder / "keys/larry.pub").write_text("ssh-ed25519 AAAA larry\n", encoding="utf-8")
    (folder / "stagewright.toml").write_text(HEAD + text, encoding="utf-8")
    return folder


def problems(folder: Path, text: str) -> list[StagewrightError]:
    with pytest.raises(ProblemsError) as caught:
        load(project(folder, text), kinds())
    return caught.value.problems


CASES: dict[str, tuple[str, str, int, str]] = {
    "user name": ('users."Larry Cow" = {}', "users.Larry Cow", 8, ""),
    "group name": ('groups."a:b" = {}', "groups.a:b", 8, ""),
    "one uid": ("[stages.x.users]\na = { uid = 5 }\nb = { uid = 5 }", "a and b have the same uid 5", 8, "change one"),
    "one gid": ("[stages.x.groups]\na = { gid = 5 }\nb = { gid = 5 }", "a and b have the same gid 5", 8, "change one"),
    "uid": ("users.larry.uid = -1", "users.larry.uid", 8, ""),
    "plain password": ('users.larry.password = "hunter2"', "users.larry.password", 8, "mkpasswd"),
    "empty password": ('root_password = ""', "root_password", 8, "empty"),
    "key file": (
        'users.larry.authorized_keys = ["keys/curly.pub"]',
        "'keys/curly.pub' does not exist",
        8,
        "did you mean 'keys/larry.pub'?",
    ),
    "unknown key": ('users.larry.shel = "/bin/sh"', "users.larry.shel", 8, "did you mean 'shell'?"),
    "contradiction": (
        'services = { enable = ["a"], disable = ["a"] }',
        "a is listed in two contradicting settings",
        8,
        "",
    ),
    "hostname": ('hostname = "a b"', "hostname", 8, ""),
    "size": ('size = "500 MB"', "size", 8, ""),
    "home": ('users.larry.home = "home"', "users.larry.home", 8, ""),
}


@pytest.mark.parametrize(("text", "message", "line", "hint"), CASES.values(), ids=CASES)
def test_mistakes(tmp_path: Path, text: str, message: str, line: int, hint: str) -> None:
    (problem,) = problems(tmp_path, text)
    assert message in problem.message
    assert hint in problem.hint
    assert problem.place and problem.place.line >= line
    assert "hunter2" not in str(problem)


def test_a_wrong_kernel_and_a_missing_profile_are_reported_together(tmp_path: Path) -> None:
    first, second = problems(tmp_path, 'kernel.package = "gentoo-kernel"')
    assert "profile: missing" in first.message
    assert "kernel.package" in second.message
    assert "category" in second.hint


def test_two_passwords_of_root(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, 'root_password = "locked"\nusers.root.password = "empty"')
    assert problem.hint == "remove one of the two"


def test_public_keys_are_files_of_the_project(tmp_path: Path) -> None:
    folder = project(tmp_path, 'users.larry.authorized_keys = ["keys/larry.pub"]')
    (node,) = [node for node in graph_of(load(folder, kinds())).nodes.values() if node.kind == "stage4"]
    assert node.files.settings == {"keys/larry.pub": folder / "keys/larry.pub"}


def test_any_root_to_any_depth(tmp_path: Path) -> None:
    more = '[stages.y]\nkind = "stage4"\nroot = "x"\n[stages.z]\nextends = "y"\nroot = "y"\nhostname = "z"\n'
    graph = graph_of(load(project(tmp_path, more), kinds()))
    assert [graph.nodes[name].inputs["root"] for name in "xyz"] == ["seed:s", "x", "y"]


def test_refusals_survive_the_way_to_the_terminal() -> None:
    """Between processes an error is plain data; none of several may be lost."""
    with pytest.raises(ProblemsError) as caught:
        raise_if_missing(
            [
                MissingRequirement("no group a", "make it"),
                MissingRequirement("no shell b", name="bsh", known=("bash",)),
                MissingRequirement("no group a", "make it"),
            ]
        )
    told = StagewrightError.from_dict(caught.value.to_dict())
    assert told.reason is Reason.ENVIRONMENT_LACKS
    assert "2 errors" in told.message
    assert "no group a" in str(told) and "make it" in str(told) and "did you mean 'bash'?" in str(told)
    with pytest.raises(ProblemsError) as caught:
        raise_if_missing([MissingRequirement("no group a", "make it")])
    assert StagewrightError.from_dict(caught.value.to_dict()).message == "no group a"
    raise_if_missing([])


def test_long_lists_are_not_printed() -> None:
    known = tuple(f"name{number}" for number in range(100))
    assert MissingRequirement("x", "do something", "quite-different", known).error().hint == "do something"


ZONE = MissingRequirement(
    "zone Berln", "", "Berln", ("Berlin",), owner="sys-libs/timezone-data", overlay=("zones/Berln",)
)
GROUP = MissingRequirement("no group weel", "", "weel", ("wheel",), short="group weel")
NUMBER = MissingRequirement("the uid is taken", permanent=True)


def test_what_no_package_can_bring_is_reported_early_and_the_rest_is_noted(tmp_path: Path) -> None:
    permanent, notes = asked_early([ZONE, GROUP, NUMBER], ["app-misc/hello"], [])
    assert [one.message for one in permanent] == ["zone Berln", "the uid is taken"]
    assert "add sys-libs/timezone-data to `packages`" in permanent[0].hint
    assert notes == ["packages must bring what the root does not have yet: group weel (did you mean 'wheel'?)"]


def test_a_package_or_an_overlay_can_bring_it(tmp_path: Path) -> None:
    for packages in (["sys-libs/timezone-data"], [">=sys-libs/timezone-data-2026a[nls]"], ["@world"]):
        assert asked_early([ZONE], packages, [])[0] == []
    (tmp_path / "zones").mkdir()
    (tmp_path / "zones/Berln").touch()
    assert asked_early([ZONE], ["app-misc/hello"], [tmp_path]) == ([], [])


def test_without_packages_everything_is_reported_early() -> None:
    assert asked_early([ZONE, GROUP], [], []) == ([ZONE, GROUP], [])
