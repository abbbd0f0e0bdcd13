"""stage3-root: a system of binary packages in a pristine root: its files, their order of arrival, their owners."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import (
    DEMO,
    Run,
    Warm,
    build,
    call,
    edit,
    owner_in_layer,
    plan,
    seeds_of,
    states,
    write_project,
)

pytestmark = pytest.mark.real

PROJECT = """
[repos.demo]
path = "repo"
main = true
eclass_overrides = ["patched"]
[repos.patched]
path = "patched"

[stages.pristine]
kind = "stage3-root"
root = "debian"
profile = "default/linux/amd64"
confdir = ["confdir"]
first = [["sys-apps/demo-baselayout"]]
packages = ["app-test/owned", "app-misc/hello"]

[stages.stranger]
kind = "stage3-root"
root = "debian"
profile = "default/linux/amd64"
first = [["sys-apps/demo-baselayout"]]
packages = ["app-test/stranger"]

[stages.look]
kind = "stage4"
root = "pristine"
"""

EBUILD = """EAPI=8
DESCRIPTION="Files of a user whose number the build's root does not know"
HOMEPAGE="https://wiki.gentoo.org/"
S="${{WORKDIR}}"
LICENSE="0BSD"
SLOT="0"
KEYWORDS="amd64"
{depends}
src_install() {{
	keepdir /var/lib/{name}
	fowners {owner} /var/lib/{name}
	{more}
}}
"""


DEPENDS = """
inherit greeting
RDEPEND="acct-user/demo"
"""


@dataclass(frozen=True)
class Built:
    project: Path
    store: Path
    run: Run

    @property
    def tree(self) -> Path:
        """The pristine root."""
        key = plan("pristine", cwd=self.project, store=self.store)["pristine"]["key"]
        return self.store / "layers" / key / "tree"

    def log(self, node: str) -> str:
        (path,) = (self.store / "logs").glob(f"test-*/{node}/*.log")
        return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    project = write_project(tmp_path_factory.mktemp("root") / "project", seeds_of(DEMO) + PROJECT)
    shutil.copytree(DEMO / "repo", project / "repo")
    shutil.copy(warm.lock, project)
    ebuilds = {
        "owned": EBUILD.format(name="owned", owner="1000:1000", depends=DEPENDS, more="patched_greeting"),
        "stranger": EBUILD.format(name="stranger", owner="4242:4242", depends="", more=""),
    }
    for name, text in ebuilds.items():
        folder = project / "repo/app-test" / name
        folder.mkdir(parents=True)
        (folder / f"{name}-1.ebuild").write_text(text, encoding="utf-8")
    with (project / "repo/profiles/categories").open("a", encoding="utf-8") as stream:
        stream.write("app-test\n")
    greeting = 'patched_greeting() {{ insinto /etc; newins - greeting <<< "{}"; }}\n'
    (project / "repo/eclass/greeting.eclass").write_text(greeting.format("as upstream has it"), encoding="utf-8")
    (project / "patched/eclass").mkdir(parents=True)
    (project / "patched/eclass/greeting.eclass").write_text(greeting.format("patched here"), encoding="utf-8")
    (project / "patched/profiles").mkdir()
    (project / "patched/profiles/repo_name").write_text("patched\n", encoding="utf-8")
    (project / "patched/metadata").mkdir()
    (project / "patched/metadata/layout.conf").write_text("masters = demo\n", encoding="utf-8")
    (project / "confdir/package.use").mkdir(parents=True)
    (project / "confdir/package.use/hello").write_text("app-misc/hello shout\n", encoding="utf-8")
    store = warm.copy(["seed:debian"], binpkgs=False)
    yield Built(project, store, build("--keep-going", cwd=project, store=store, check=False))
    shutil.rmtree(store)


def test_two_nodes_and_the_second_compiles_nothing(built: Built) -> None:
    assert {"pristine.prepared", "pristine", "stranger.prepared"} <= built.run.built(), built.run
    assert ">>> Emerging (" in built.log("pristine.prepared")
    log = built.log("pristine")
    assert ">>> Emerging binary (" in log
    assert ">>> Emerging (" not in log


def test_accounts_are_there_before_the_packages_that_need_them(built: Built) -> None:
    order = re.findall(r">>> Emerging binary \(\d+ of \d+\) (\S+?)-\d", built.log("pristine"))
    assert order.index("sys-apps/demo-baselayout") < order.index("acct-group/demo") < order.index("acct-user/demo")
    assert order.index("acct-user/demo") < order.index("app-test/owned")
    (user,) = re.findall(r"^demo:.*", (built.tree / "etc/passwd").read_text(encoding="utf-8"), re.MULTILINE)
    assert user.split(":")[2:4] == list(map(str, owner_in_layer(built.tree / "var/lib/owned")))


def test_files_of_unknown_owners_are_refused(built: Built) -> None:
    assert built.run.reasons == {"stranger": "build-failed"}
    (error,) = (event["error"] for event in built.run.events if event.get("error"))
    assert "/var/lib/stranger: 4242:4242" in error["detail"]


def test_settings_and_patched_eclasses_count(built: Built) -> None:
    said = call("shell", "look", "--", "/usr/bin/hello", "you", cwd=built.project, store=built.store).stdout
    assert said.startswith("HELLO, YOU")
    assert (built.tree / "etc/greeting").read_text(encoding="utf-8") == "patched here\n"
    edit(built.project, "patched here", "patched again", "patched/eclass/greeting.eclass")
    changed = states("pristine", cwd=built.project, store=built.store)
    edit(built.project, "patched again", "patched here", "patched/eclass/greeting.eclass")
    assert changed == {"seed:debian": "cached", "pristine.prepared": "build", "pristine": "build"}


def test_the_root_has_no_files_of_the_build(built: Built) -> None:
    packages = {f"{path.parent.name}/{path.name}" for path in (built.tree / "var/db/pkg").glob("*/*")}
    assert packages == {
        *("sys-apps/demo-baselayout-1", "acct-group/demo-0", "acct-user/demo-0", "app-misc/hello-1.0"),
        "app-test/owned-1",
    }
    assert not any((built.tree / name).exists() for name in ("usr/bin/gcc", "usr/bin/emerge", "var/cache/binpkgs"))
    assert set(states("pristine", cwd=built.project, store=built.store).values()) <= {"cached"}
