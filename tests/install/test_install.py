"""The wheel in bare systems, by `make test-install`: `doctor`, `init` and `check` need nothing else.

Each release of Debian is bootstrapped with nothing but Python's venv. The wheel is built from the source package, so
the source package is complete, too. A test takes one to three minutes, most of it for downloads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stagewright.cli.completion import FILES
from stagewright.seeds.apt import codename, options, sources

ROOT = Path(__file__).parents[2]
SUITES = ("bookworm", "trixie")
PASSED_ON = ("PIP_", "SSL_", "REQUESTS_", "CURL_", "http", "HTTP", "no_proxy", "NO_PROXY")
"""Variables by which pip finds its packages, also behind a proxy."""

pytestmark = pytest.mark.skipif(
    not os.environ.get("STAGEWRIGHT_TEST_INSTALL"), reason="takes minutes and a network: make test-install"
)


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source package and the wheel, made of what git knows."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-c", "--null", "-T", "-", "-f", str(source / "a.tar")], cwd=ROOT, input=files, check=True)
    with tarfile.open(source / "a.tar") as archive:
        archive.extractall(source / "tree", filter="fully_trusted")
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(dist), str(source / "tree")], check=True)
    return dist


class System:
    """A bare Debian system; its programs have a network, and see the packages in /dist."""

    def __init__(self, suite: str, folder: Path, dist: Path) -> None:
        self.root, self.dist = folder / "root", dist
        folder.mkdir(exist_ok=True)
        (folder / "sources.list").write_text("\n".join(sources(suite)) + "\n", encoding="utf-8")
        (folder / "apt.conf").write_text(options(), encoding="utf-8")
        words = ["mmdebstrap", "--variant=minbase", "--include=python3-venv,ca-certificates"]
        words += [f"--aptopt={folder / 'apt.conf'}", suite, str(self.root), str(folder / "sources.list")]
        subprocess.run(words, check=True)

    def run(self, *words: str, code: int = 0) -> str:
        """Run a program in the system and return its output. Fails for another exit code."""
        binds = [path for path in ("/etc/resolv.conf", "/etc/ssl", "/etc/pip.conf") if Path(path).exists()]
        environment = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        done = subprocess.run(
            [
                *("bwrap", "--bind", str(self.root), "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
                *(word for path in binds for word in ("--ro-bind", os.path.realpath(path), path)),
                *("--ro-bind", str(self.dist), "/dist", "--chdir", "/root", "--die-with-parent", *words),
            ],
            env={
                **environment,
                "PATH": "/opt/it/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/root",
                "LC_ALL": "C.UTF-8",
            },
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture(scope="module", params=SUITES)
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, packages: Path
) -> Iterator[System]:
    folder = tmp_path_factory.mktemp(request.param)
    bare = System(request.param, folder, packages)
    bare.run("python3", "-m", "venv", "/opt/it")
    bare.run("sh", "-c", "pip install --quiet /dist/*.whl")
    yield bare
    subprocess.run(["rm", "-rf", str(folder / "root")], check=True)


def test_the_wheel_works_in_a_bare_system(system: System) -> None:
    assert system.run("stagewright", "--version").startswith("stagewright, version ")
    for template in ("debian", "stage4", "live", "cloud", "roflmaos", "catalyst"):
        system.run("stagewright", "init", template, template)
        assert "nothing wrong" in system.run("stagewright", "-C", template, "check")
    # A plan needs the versions of programs that are part of keys, and names the first one that is missing.
    assert "apt install" in system.run("stagewright", "-C", "stage4", "plan", code=3)


def test_man_pages_and_completion_are_installed(system: System) -> None:
    pages = system.run("ls", "/opt/it/share/man/man1").split()
    assert {"stagewright.1", "stagewright-build.1", "stagewright-netboot-serve.1"} <= {*pages}
    assert system.run("head", "-c", "3", "/opt/it/share/man/man1/stagewright-build.1") == ".TH"
    script = "/opt/it/share/bash-completion/completions/stagewright"
    typed = "COMP_WORDS=(stagewright buil) COMP_CWORD=1; _stagewright_completion stagewright buil"
    shown = system.run("bash", "-c", f"source {script}; {typed}; echo ${{COMPREPLY[*]}}")
    assert shown.split() == ["build"]
    for path in ("zsh/site-functions/_stagewright", "fish/vendor_completions.d/stagewright.fish"):
        assert "_STAGEWRIGHT_COMPLETE" in system.run("cat", f"/opt/it/share/{path}")


def test_doctor_names_the_packages_that_are_missing(system: System) -> None:
    assert "apt" in system.run("stagewright", "doctor", code=3)


def test_the_debian_package_works_in_a_bare_system(packages: Path, tmp_path: Path) -> None:
    """It is built by dpkg-buildpackage here, and its command runs in a system of the same release."""
    if not all(map(shutil.which, ("dpkg-buildpackage", "dh"))):
        pytest.skip("NOT TESTED: apt install dpkg-dev debhelper")
    (wheel,) = packages.glob("*.whl")
    build = [str(ROOT / "packaging/debian/build"), str(tmp_path)]
    subprocess.run(build, env={**os.environ, "STAGEWRIGHT_WHEEL": str(wheel)}, check=True)
    (package,) = tmp_path.glob("*.deb")
    fields = subprocess.run(["dpkg-deb", "--field", package], check=True, capture_output=True, text=True).stdout
    assert "Depends: python3 (>= 3." in fields and "bubblewrap" in fields
    assert "Recommends: " in fields and "qemu-system-x86" in fields
    bare = System(codename(), tmp_path / "system", tmp_path)
    bare.run("sh", "-c", "dpkg --unpack --force-depends /dist/*.deb")
    assert bare.run("/usr/bin/stagewright", "--version").startswith("stagewright, version ")
    bare.run("/usr/bin/stagewright", "init", "stage4", "mine")
    assert "nothing wrong" in bare.run("/usr/bin/stagewright", "-C", "mine", "check")
    assert "build" in bare.run("/usr/bin/stagewright-catalyst", "--help")
    files = bare.run("dpkg", "--listfiles", "stagewright").splitlines()
    for path in (
        "man/man1/stagewright.1.gz",
        FILES["bash"].removeprefix("share/"),
        "zsh/vendor-completions/_stagewright",
    ):
        assert f"/usr/share/{path}" in files


def test_the_source_package_has_manual_examples_and_tests(packages: Path) -> None:
    (source,) = packages.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        top = {name.split("/")[1] for name in archive.getnames() if name.count("/")}
        names = set(archive.getnames())
    assert {"docs", "examples", "packages", "packaging", "tests", "tools", "bench", "Makefile", "SECURITY.md"} <= top
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )
    prefix = source.name.removesuffix(".tar.gz")
    wanted = [name for name in tracked if name and not name.startswith(".") and (ROOT / name).is_file()]
    assert [name for name in wanted if f"{prefix}/{name}" not in names] == []
    assert {f"{prefix}/share/man/man1/stagewright.1", f"{prefix}/{FILES['bash']}"} <= names
