"""The package sources of this machine, as apt(8) reads them.

Debian seeds are bootstrapped from these sources, and Debian's source packages can serve as distfiles. Their addresses
do not enter keys, seeds or logs.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.root.network import Service
from stagewright.root.sandbox import Bind
from stagewright.run import PATH, run
from stagewright.store.durable import write_atomically

INSIDE = "/run/stagewright/apt"
"""Folder with the sources inside the fetch step of a build (see ``data/fetch-debsrc``)."""

_LOCAL = re.compile(r"https?://(localhost|127\.0\.0\.1)(?::(\d{1,5}))?(?=[/\"\s])")
_FILE = re.compile(r"\b(?:file|copy):(?://)?(/[^/\s\"][^\s\"]*)|\"(/[^/\s\"][^\"]*[^/\"])\"")

_LEFT_OUT = ("Acquire::IndexTargets", "Acquire::Languages", "Acquire::CompressionTypes", "Acquire::Changelogs")


def codename() -> str:
    """Return the code name of this machine's release, for example ``bookworm`` (os-release(5))."""
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise StagewrightError(
        Reason.HOST_FEATURE,
        "/etc/os-release: VERSION_CODENAME is missing",
        hint='set `suite` in the seed: suite = "bookworm"',
    )


def sources(suite: str) -> list[str]:
    """Return this machine's sources for a release and its updates, as lines of sources.list(5).

    If apt has no sources for this release, those of the machine's own release are used with the other name.
    """
    if shutil.which("apt-get", path=PATH) is None:
        raise StagewrightError(
            Reason.MISSING_TOOL,
            "apt-get not found: a Debian seed needs it",
            hint="use a seed from a file, or build on a machine with Debian or Ubuntu",
        )
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    listing = run(words).stdout
    found = lines_of(suite, listing) or renamed(lines_of(codename(), listing), suite)
    if not found:
        raise StagewrightError(
            Reason.HOST_FEATURE,
            f"no package sources for {suite} or {codename()} on this machine",
            hint="add a file to /etc/apt/sources.list.d and run apt-get update, or set another `suite` in the seed",
        )
    return found


def lines_of(suite: str, listing: str) -> list[str]:
    """Return the lines of sources.list(5) for a release and its updates, from lines of URI, release and component."""
    components: dict[str, list[str]] = {}
    for line in listing.splitlines():
        uri, release, component = line.split()
        if release == suite or release.startswith(f"{suite}-"):
            components.setdefault(f"{uri} {release}", []).append(component)
    return [f"deb {where} {' '.join(dict.fromkeys(names))}" for where, names in components.items()]


def renamed(lines: Iterable[str], suite: str) -> list[str]:
    """Return lines of sources.list(5) for another release: an archive of Debian has all releases at one address."""
    words = (line.split() for line in lines)
    return [
        " ".join([kind, uri, suite + "".join(release.partition("-")[1:]), *rest]) for kind, uri, release, *rest in words
    ]


def options() -> str:
    """Return this machine's download settings (proxies, certificates) as the text of an apt.conf(5)."""
    dump = run(["apt-config", "dump", "--format", '%F "%v";%n', "Acquire"]).stdout
    return "".join(f"{line}\n" for line in dump.splitlines() if not line.startswith(_LEFT_OUT))


def fetch_binds(folder: Path, cache_file: Path) -> list[Bind]:
    """Return the mounts of this machine's sources for the fetch step of a build; none on a machine without apt.

    ``cache_file`` is a file that caches the sources until apt's configuration changes: apt needs half a second to list
    them, which is long for a stage that has nothing to fetch.
    """
    if shutil.which("apt-get", path=PATH) is None:
        return []
    state = _state()
    try:
        known = json.loads(cache_file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = {}
    if known.get("state") != state:
        try:
            known = {"state": state, "sources": sources(codename()), "options": options()}
        except StagewrightError:
            return []
        write_atomically(cache_file, json.dumps(known))
    folder.mkdir(exist_ok=True)
    (folder / "sources.list").write_text("\n".join(known["sources"]) + "\n", encoding="utf-8")
    (folder / "apt.conf").write_text(known["options"], encoding="utf-8")
    return [Bind(folder, INSIDE)]


def local_services(texts: Iterable[str]) -> list[Service]:
    """Return the services of this machine, such as a proxy, that :func:`sources` or :func:`options` name."""
    found = [match for text in texts for match in _LOCAL.finditer(text)]
    return list(dict.fromkeys(Service("127.0.0.1", int(match[2] or 80)) for match in found))


def local_files(texts: Iterable[str]) -> list[Path]:
    """Return what :func:`sources` or :func:`options` name on this machine: folders of packages, and certificates."""
    found = [Path(match[1] or match[2]) for text in texts for match in _FILE.finditer(text)]
    return [path for path in dict.fromkeys(found) if path.is_file() or (path.is_dir() and len(path.parts) > 2)]


def _state() -> list[str]:
    """Return the times of all files that determine apt's answer."""
    paths = [Path("/etc/os-release"), *sorted(Path("/etc/apt").rglob("*")), Path("/var/lib/apt/lists")]
    return [f"{path} {path.stat().st_mtime_ns}" for path in paths if path.exists()]
