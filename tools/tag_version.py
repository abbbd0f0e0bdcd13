"""Tag the version of this checkout: ``python -m tools.tag_version [--sign]``.

The tag ``vVERSION`` is made of ``stagewright.__version__``. It is refused unless the tree is clean and all places name
the same version: the changelog, the ebuild, and the changelog of the Debian package. Nothing is pushed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHANGELOG = "CHANGELOG.md"
DEBIAN = "packaging/debian/debian/changelog"
EBUILDS = "packaging/gentoo/app-admin/stagewright"


def version_of(root: Path) -> str:
    """Return the version in the package of a checkout. Raises ValueError if it has none."""
    text = (root / "src/stagewright/__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if not found:
        raise ValueError("src/stagewright/__init__.py: __version__ not found")
    return found[1]


def section_of(root: Path, version: str) -> str:
    """Return the section of a version in the changelog; empty if it has none."""
    text = (root / CHANGELOG).read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(version)}\b.*?\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def problems(root: Path) -> Iterator[str]:
    """Yield why a checkout cannot be tagged."""
    version = version_of(root)
    if _git(root, "status", "--porcelain"):
        yield "the tree has changes: commit them"
    if not section_of(root, version):
        yield f'{CHANGELOG}: section "## {version}" not found or empty: rename "## Unreleased"'
    if not (root / EBUILDS / f"stagewright-{version}.ebuild").is_file():
        yield f"{EBUILDS}: stagewright-{version}.ebuild not found: rename the ebuild"
    first = (root / DEBIAN).read_text(encoding="utf-8").partition("\n")[0]
    if f"({version})" not in first:
        yield f"{DEBIAN}: its first entry is not {version} (found {first!r})"
    if _git(root, "tag", "--list", f"v{version}"):
        yield f"the tag v{version} exists: change __version__"


def tag(root: Path, *, sign: bool) -> str:
    """Make the tag, with the section of the changelog as its message, and return its name."""
    version = version_of(root)
    message = f"Stagewright {version}\n\n{section_of(root, version)}\n"
    words = ["git", "tag", "--sign" if sign else "--annotate", "--cleanup=whitespace", "--file=-", f"v{version}"]
    subprocess.run(words, cwd=root, input=message, text=True, check=True)
    return f"v{version}"


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


def main(root: Path = ROOT) -> int:
    """Check the checkout, make the tag, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.tag_version", description="Tag the version of this checkout."
    )
    parser.add_argument("--sign", action="store_true", help="sign the tag with your OpenPGP key")
    options = parser.parse_args()
    found = list(problems(root))
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    if found:
        return 1
    print(tag(root, sign=options.sign))
    return 0


if __name__ == "__main__":
    sys.exit(main())
