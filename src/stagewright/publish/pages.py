"""Pages and menus of published releases, by templates that a project can override.

::

    index.html      all versions with their files
    feed.xml        RSS 2.0, if the address of the target on the web is known
    boot.ipxe       a menu for iPXE of all versions that start from the network
    endpoints.yml   the entries of these versions in the form of netboot.xyz, if the address is known

A file of the same name in the folder ``templates`` of the project replaces a template. Templates are those of Jinja.
Values are escaped in pages that end with ``.html`` or ``.xml``. A page that the project adds has the suffix ``.j2``,
which is removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stagewright.release.notes_files import NOTES_PAGE
from stagewright.release.release_folder import Description, ReleasedArtifact
from stagewright.release.rendering import render

INDEX, FEED, MENU, ENDPOINTS = "index.html", "feed.xml", "boot.ipxe", "endpoints.yml"

NETWORK_SET = "pxeboot"
"""The kind of artifacts that start from the network."""

SCRIPT = "boot.ipxe"
"""The script for iPXE in a network set."""


@dataclass(frozen=True)
class Pages:
    """Writes pages. ``url`` is the address of the target on the web, "" if unknown."""

    url: str = ""
    templates: Path | None = None

    def __call__(self, versions: Sequence[Description]) -> Mapping[str, str]:
        """Return the texts of all pages for the versions, newest first."""
        names = [INDEX]
        names += [FEED] if self.url else []
        if any(network_sets(version) for version in versions):
            names += [MENU, *([ENDPOINTS] if self.url else [])]
        return {name: self._render(name, versions) for name in [*names, *self._own()]}

    def _own(self) -> list[str]:
        """Return the names of the pages that the project adds."""
        found = sorted(self.templates.glob("*.j2")) if self.templates else []
        return [path.name.removesuffix(".j2") for path in found]

    def _render(self, name: str, versions: Sequence[Description]) -> str:
        """Return the text of a page. Raises: INVALID_VALUE for an error in a template of the project."""
        values = {
            "versions": versions,
            "newest": versions[0],
            "url": self.url.rstrip("/"),
            "folder": urlsplit(self.url).path.rstrip("/"),
            "sets": network_sets,
            "script": SCRIPT,
            "notes": NOTES_PAGE,
        }
        return render([name, f"{name}.j2"], values, package="stagewright.publish", folder=self.templates)


def network_sets(version: Description) -> list[ReleasedArtifact]:
    """Return the artifacts of a version that start from the network."""
    return [one for one in version.artifacts if one.kind == NETWORK_SET and one.folder]
