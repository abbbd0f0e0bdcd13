"""Source files of Debian that match the Manifest of an ebuild repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from gentoo.families import Candidate
from stagewright.graph.file_digest import digest_of
from stagewright.portage.ebuilds import by_version, is_version
from stagewright.seeds import apt

SUITES = ("trixie", "sid")


@dataclass(frozen=True)
class Dist:
    """A line of a Manifest: a source file with its size in bytes and its BLAKE2B digest."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True)
class DebianSources:
    """The source packages of Debian, by apt(8) with the computer's archive. ``folder`` keeps its lists and files."""

    folder: Path

    @cached_property
    def _config(self) -> Path:
        (self.folder / "lists/partial").mkdir(parents=True, exist_ok=True)
        (self.folder / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
        own = [line for line in apt.sources(apt.codename()) if line.split()[2] == apt.codename()]
        lines = [line.replace("deb ", "deb-src ", 1) for suite in SUITES for line in apt.renamed(own, suite)]
        (self.folder / "sources.list").write_text("\n".join(dict.fromkeys(lines)) + "\n", encoding="utf-8")
        settings = {
            "Dir::Etc::SourceList": f"{self.folder}/sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::lists": f"{self.folder}/lists",
            "Dir::Cache": f"{self.folder}/cache",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
        }
        config = self.folder / "apt.conf"
        text = "".join(f'{name} "{value}";\n' for name, value in settings.items())
        config.write_text(apt.options() + text, encoding="utf-8")
        self._run(config, "apt-get", "-qq", "update")
        return config

    def _run(self, config: Path, *words: str, cwd: Path | None = None, check: bool = True) -> str:
        env = {**os.environ, "APT_CONFIG": str(config), "LC_ALL": "C"}
        return subprocess.run(words, env=env, cwd=cwd, check=check, capture_output=True, text=True).stdout

    @cached_property
    def _by_size(self) -> dict[tuple[str, int], set[tuple[str, str]]]:
        """Names and versions of source files, by source package and size."""
        found: dict[tuple[str, int], set[tuple[str, str]]] = defaultdict(set)
        words = ("apt-get", "indextargets", "--format", "$(FILENAME)", "Created-By: Sources")
        for path in self._run(self._config, *words).split():
            package = version = ""
            for line in self._run(self._config, "/usr/lib/apt/apt-helper", "cat-file", path).splitlines():
                if line.startswith("Package: "):
                    package = line[9:]
                elif line.startswith("Version: "):
                    version = line[9:]
                elif line.startswith(" ") and ".orig" in line and len(words := line.split()) == 3:
                    found[package, int(words[1])].add((words[2], version))
        return found

    def fetch(self, package: str, dist: Dist, target: Path) -> bool:
        """Write the file of a Manifest into ``target``, if a source package has it byte for byte."""
        for name, version in sorted(self._by_size.get((package, dist.size), ())):
            here = self.folder / "files" / package
            here.mkdir(parents=True, exist_ok=True)
            if not (here / name).exists():
                words = ("apt-get", "-q", "--download-only", "--only-source", "source", f"{package}={version}")
                self._run(self._config, *words, cwd=here, check=False)
            if (here / name).exists() and digest_of(here / name, "blake2b") == dist.digest:
                shutil.copy(here / name, target / dist.name)
                return True
        return False


def dists(tree: Path, package: str) -> Iterator[Dist]:
    """Yield the source files of a package's Manifest, without signatures."""
    manifest = tree / package / "Manifest"
    for line in manifest.read_text(encoding="utf-8").splitlines() if manifest.exists() else ():
        words = line.split()
        if words[:1] == ["DIST"] and not words[1].endswith((".asc", ".sig", ".sign", ".provenance")):
            yield Dist(words[1], int(words[2]), dict(zip(words[3::2], words[4::2], strict=True))["BLAKE2B"])


def versions(tree: Path, package: str) -> list[str]:
    """Return the versions of a package, newest first."""
    name = package.partition("/")[2]
    found = [path.stem[len(name) + 1 :] for path in (tree / package).glob("*.ebuild")]
    return sorted(filter(is_version, found), key=by_version, reverse=True)


def choose(tree: Path, candidate: Candidate, sources: DebianSources, distfiles: Path) -> str:
    """Return the newest version whose source Debian has, and fetch the source; "" if there is none."""
    known = versions(tree, candidate.package)
    if not candidate.debian:
        return known[0] if known else ""
    for version in [candidate.version] if candidate.version in known else known:
        plain = re.sub(r"-r\d+$", "", version)
        for dist in dists(tree, candidate.package):
            fits = candidate.version or re.search(rf"(?<![\d.]){re.escape(plain)}(?![\d.]*\d)", dist.name)
            if fits and sources.fetch(candidate.debian, dist, distfiles):
                return version
    return ""
