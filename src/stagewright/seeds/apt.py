"""The machine's own package sources, as apt itself understands them.

Seeds are bootstrapped from whatever the machine installs its packages from, and Debian's source packages can serve as
distfiles. Where these sources are is the machine's business: nothing of it enters a key, a seed or a log on purpose.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.root.sandbox import Bind
from stagewright.run import PATH, run

INSIDE = "/run/stagewright/apt"
"""Where the fetch step of a build finds them (see ``data/fetch-debsrc``)."""

_LEFT_OUT = ("Acquire::IndexTargets", "Acquire::Languages", "Acquire::CompressionTypes", "Acquire::Changelogs")


def codename() -> str:
    """The release of the machine, such as ``bookworm`` (os-release(5))."""
    for line in Path("/etc/os-release").read_text().splitlines():
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
    listing = run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    )
    components: dict[str, list[str]] = {}
    for line in listing.stdout.splitlines():
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


def fetch_binds(folder: Path) -> list[Bind]:
    """What the fetch step of a build sees of the machine's sources; nothing on a machine without apt."""
    if shutil.which("apt-get", path=PATH) is None:
        return []
    folder.mkdir(exist_ok=True)
    try:
        lines = sources(codename())
    except StagewrightError:
        return []
    (folder / "sources.list").write_text("\n".join(lines) + "\n")
    (folder / "apt.conf").write_text(options())
    return [Bind(folder, INSIDE)]
