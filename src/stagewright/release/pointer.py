"""``latest-<name>.txt``: the newest version of a release, in the form of the files on Gentoo's mirrors.

::

    # Latest as of Fri, 20 Nov 2026 00:00:00 +0000
    # ts=1795132800
    # release=demo/live                   name of the project, and of the release
    # version=1.0
    # sha256sums=<SHA256 of 1.0/SHA256SUMS>
    # expires=1802908800                  only if the release has a validity time
    1.0/demo-1.0.iso 123456789

Times are seconds since 1970. The file is clear-signed if the release has an OpenPGP key.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from stagewright.errors import Reason, StagewrightError
from stagewright.project.names import NAME
from stagewright.untrusted import number

_COMMENT = re.compile(r"# (?P<name>ts|release|version|sha256sums|expires)=(?P<value>\S+)")
_FILE = re.compile(r"(?P<path>[^\s/][^\s]*) (?P<size>\d{1,18})")


def pointer_name(release: str) -> str:
    """Return the name of the file."""
    return f"latest-{release}.txt"


@dataclass(frozen=True)
class Pointer:
    """The content of the file. Times are seconds since 1970, sizes of files bytes by path."""

    release: str
    version: str
    time: int
    sums: str
    expires: int | None = None
    files: Mapping[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """Return the content of the file."""
        day = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(self.time))
        lines = [f"# Latest as of {day}", f"# ts={self.time}", f"# release={self.release}"]
        lines += [f"# version={self.version}", f"# sha256sums={self.sums}"]
        lines += [f"# expires={self.expires}"] if self.expires else []
        lines += [f"{path} {size}" for path, size in self.files.items()]
        return "\n".join(lines) + "\n"

    @classmethod
    def parse(cls, text: str, name: str) -> Pointer:
        """Return the content of a file. Raises: BAD_LISTING for any other text; ``name`` is the file name."""
        facts: dict[str, str] = {}
        files: dict[str, int] = {}
        for line in text.splitlines():
            if found := _COMMENT.fullmatch(line):
                facts[found["name"]] = found["value"]
            elif found := _FILE.fullmatch(line):
                files[found["path"]] = int(found["size"])
            elif line and not line.startswith("#"):
                raise _invalid(name, f"line {line[:80]!r}")
        time_, expires = number(facts.get("ts", "")), number(facts.get("expires", ""))
        project, _, release = facts.get("release", "").partition("/")
        checks = {
            "ts": time_ is not None,
            "release": re.fullmatch(NAME, project) and re.fullmatch(NAME, release),
            "version": re.fullmatch(NAME, facts.get("version", "")),
            "sha256sums": re.fullmatch("[0-9a-f]{64}", facts.get("sha256sums", "")),
            "expires": "expires" not in facts or expires is not None,
        }
        for fact, valid in checks.items():
            if not valid:
                raise _invalid(name, f"{fact} is missing or invalid")
        assert time_ is not None
        return cls(facts["release"], facts["version"], time_, facts["sha256sums"], expires, files)


def _invalid(name: str, problem: str) -> StagewrightError:
    return StagewrightError(Reason.BAD_LISTING, f"{name}: not a pointer to a release ({problem})")
