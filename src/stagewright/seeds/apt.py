"""The machine's own package sources, as apt itself understands them.

Seeds are bootstrapped from whatever the machine installs its packages from, and Debian's source packages can serve as
distfiles. Where these sources are is the machine's business: nothing of it enters a key, a seed or a log on purpose.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.root.sandbox import Bind
from stagewright.run import PATH, run
from stagewright.store.store import write_atomically

INSIDE = "/run/stagewright/apt"
"""Where the fetch step of a build finds them (see ``data/fetch-debsrc``)."""

_LEFT_OUT = ("Acquire::IndexTargets", "Acquire::Languages", "Acquire::CompressionTypes", "Acquire::Changelogs")


def codename() -> str:
    """The release of the machine, such as ``bookworm`` (os-release(5))."""
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise StagewrightError(
        Reason.HOST_FEATURE, "this machine's release has no code name", hint="set `suite` in the seed, e.g. bookworm"
    )


def sources(suite: str) -> list[str]:
    """The machine's sources for a release and its updates, as lines of sources.list(5)."""
    if shutil.which("apt-get", path=PATH) is None:
        raise StagewrightError(
            Reason.MISSING_TOOL,
            "apt-get is not installed, so a Debian root cannot be made here",
            hint="use a seed from a file, or build on a Debian-like machine",
        )
    words = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    listing = run(words).stdout
    components: dict[str, list[str]] = {}
    for line in listing.splitlines():
        uri, release, component = line.split()
        if release == suite or release.startswith(f"{suite}-"):
            components.setdefault(f"{uri} {release}", []).append(component)
    if not components:
        raise StagewrightError(
            Reason.HOST_FEATURE,
            f"this machine has no package sources for {suite}",
            hint="run apt-get update, or name another `suite` in the seed",
        )
    return [f"deb {where} {' '.join(dict.fromkeys(names))}" for where, names in components.items()]


def options() -> str:
    """The machine's settings for fetching (proxies, certificates), as an apt.conf(5)."""
    dump = run(["apt-config", "dump", "--format", '%F "%v";%n', "Acquire"]).stdout
    return "".join(f"{line}\n" for line in dump.splitlines() if not line.startswith(_LEFT_OUT))


def fetch_binds(folder: Path, memory: Path) -> list[Bind]:
    """What the fetch step of a build sees of the machine's sources; nothing on a machine without apt.

    ``memory`` is a file that remembers the sources as long as apt's configuration stays as it is: asking apt takes
    half a second, which is much for a stage that has nothing to fetch.
    """
    if shutil.which("apt-get", path=PATH) is None:
        return []
    state = _state()
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        known = {}
    if known.get("state") != state:
        try:
            known = {"state": state, "sources": sources(codename()), "options": options()}
        except StagewrightError:
            return []
        write_atomically(memory, json.dumps(known))
    folder.mkdir(exist_ok=True)
    (folder / "sources.list").write_text("\n".join(known["sources"]) + "\n", encoding="utf-8")
    (folder / "apt.conf").write_text(known["options"], encoding="utf-8")
    return [Bind(folder, INSIDE)]


def _state() -> list[str]:
    """The times of everything that apt's answer depends on."""
    paths = [Path("/etc/os-release"), *sorted(Path("/etc/apt").rglob("*")), Path("/var/lib/apt/lists")]
    return [f"{path} {path.stat().st_mtime_ns}" for path in paths if path.exists()]
