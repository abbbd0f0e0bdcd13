"""The ebuild in packaging/gentoo, with real Portage on the Debian seed: metadata, phases, and the installed files.

A stand-in has the profile and the one eclass of Gentoo's repository. ``make test-gentoo`` uses the real ones.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from source_package import ROOT, install_backend, make_source_package

from integration.support import Warm

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not os.environ.get("STAGEWRIGHT_TEST_INSTALL"), reason="takes a minute: make test-install"),
]

Run = Callable[[str], str]
EBUILD = "/tmp/repo/app-admin/stagewright/stagewright-0.1.0.ebuild"

CONFIGURATION = """
set -e
mkdir -p /etc/portage/repos.conf /var/cache/distfiles
printf '[DEFAULT]\\nmain-repo = gentoo\\n[gentoo]\\nlocation = /tmp/standin\\n[stagewright]\\nlocation = /tmp/repo\\n' \
    > /etc/portage/repos.conf/all.conf
ln -s /tmp/standin/profiles/default /etc/portage/make.profile
printf 'FEATURES="-sandbox -usersandbox -userpriv -userfetch -ipc-sandbox -network-sandbox -pid-sandbox"\\n' \
    > /etc/portage/make.conf
cp /tmp/dist/*.tar.gz /var/cache/distfiles/
export PYTHONPATH=/tmp/packages
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages for the build backend."""
    return install_backend(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def source(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the source package of this checkout."""
    return make_source_package(tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("dist"), packages).parent


@pytest.fixture(scope="module")
def portage(seed: Warm, source: Path, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs a script in the seed, with the ebuild's repository and the source package."""
    tree = seed.store / "layers" / seed.keys["seed:debian"] / "tree"
    repo = tmp_path_factory.mktemp("repo")
    subprocess.run(["cp", "-rT", str(ROOT / "packaging/gentoo"), str(repo)], check=True)

    def run(script: str) -> str:
        done = subprocess.run(
            [
                *("bwrap", "--unshare-net", "--die-with-parent", "--ro-bind", str(tree), "/"),
                *("--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/etc/portage", "--tmpfs", "/var"),
                *("--dir", "/var/tmp", "--dir", "/var/db/pkg", "--dir", "/var/lib/portage", "--dir", "/var/log"),
                *("--bind", str(repo), "/tmp/repo", "--ro-bind", str(source), "/tmp/dist"),
                *(
                    "--ro-bind",
                    str(ROOT / "tests/data/standin"),
                    "/tmp/standin",
                    "--ro-bind",
                    str(packages),
                    "/tmp/packages",
                ),
                *("bash", "-c", CONFIGURATION + script),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "TERM": "dumb"},
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    return run


def test_the_ebuild_has_valid_metadata_and_installs_everything(portage: Run) -> None:
    said = portage(
        f"ebuild {EBUILD} manifest >&2\n"
        'for key in DEPEND RDEPEND BDEPEND RESTRICT IUSE LICENSE; do echo "$key=$(portageq metadata / ebuild '
        'app-admin/stagewright-0.1.0 $key)"; done\n'
        f"ebuild {EBUILD} clean install >&2\n"
        "cd /var/tmp/portage/app-admin/stagewright-0.1.0/image && find . -type f\n"
    )
    assert "LICENSE=GPL-2+" in said
    assert "RESTRICT=fetch test" in said
    assert ">=dev-python/pydantic-2.12" in said
    files = {line.removeprefix(".") for line in said.splitlines() if line.startswith("./")}
    names = {Path(path).name.removesuffix(".bz2") for path in files}
    assert {"stagewright", "stagewright-catalyst", "stagewright.1", "stagewright-build.1", "_stagewright"} <= names
    assert "/usr/share/bash-completion/completions/stagewright" in {path.replace("/local", "") for path in files}
    assert any(path.endswith("stagewright/templates/stage4/stagewright.toml") for path in files)


def test_a_missing_source_package_is_explained(portage: Run) -> None:
    said = portage(f"rm /var/cache/distfiles/*\nebuild {EBUILD} fetch 2>&1 || true\n")
    assert "python -m build --sdist" in said
