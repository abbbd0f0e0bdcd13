"""``[binhosts.NAME]``: binary package hosts of a project."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from stagewright.project.fields import WEB, FilePath, Matching, Section

GENTOO_PACKAGES = "https://distfiles.gentoo.org/releases"

_LAYOUT = Matching(r"\d+\.\d+/[A-Za-z0-9][A-Za-z0-9._-]*", "a profile version and a processor, like 23.0/x86-64")

_FOLDERS = {"x86-64": "amd64", "rv64": "riscv", "rv32": "riscv", "power": "ppc", "ppc": "ppc", "i": "x86"}
"""Folders of architectures on Gentoo's mirrors, by the beginning of a processor's name. Others have its name."""


def _address_of(layout: str) -> str:
    """Return the address of Gentoo's packages for a profile version and a processor."""
    processor = layout.partition("/")[2]
    found = (folder for name, folder in _FOLDERS.items() if re.match(rf"{name}(?![a-z])", processor))
    folder = next(found, re.split(r"[_-]", processor)[0])
    return f"{GENTOO_PACKAGES}/{folder}/binpackages/{layout}"


class Binhost(Section):
    """``[binhosts.NAME]``: a binary package host and the keys that its packages must be signed with."""

    uri: Annotated[str, WEB] = ""
    """Address of the folder with the index `Packages`, without a password: keys and manifests contain it."""
    gentoo: Annotated[str, _LAYOUT] | None = None
    """Instead of `uri`: binary packages of Gentoo, such as `23.0/x86-64` or `23.0/x86-64-v3`: profile version and
    processor. `stagewright keys fetch` gets the keys."""
    keys: FilePath | None = None
    """File of the OpenPGP public keys that packages must be signed with, in the format of `gpg --export`. Default with
    `gentoo`: Gentoo's release keys."""
    verify: bool = True
    """Refuse packages that are not signed with one of the keys. `false` accepts every package."""
    priority: int = 0
    """If two hosts have the same package, the host with the higher priority is used."""

    @model_validator(mode="before")
    @classmethod
    def _address(cls, given: Any) -> Any:
        """Set the address of Gentoo's packages."""
        if not isinstance(given, dict) or ("uri" in given) is ("gentoo" not in given):
            layout = given.get("gentoo") if isinstance(given, dict) else None
            return {**given, "uri": _address_of(layout)} if isinstance(layout, str) else given
        if "uri" in given:
            raise PydanticCustomError("origin", "`uri` and `gentoo` exclude each other", {"hint": "remove one of them"})
        facts = {"hint": 'write uri = "https://...", or gentoo = "23.0/x86-64"'}
        raise PydanticCustomError("no_origin", "a binary package host needs `uri` or `gentoo`", facts)

    @property
    def by_gentoo_keys(self) -> bool:
        """True if Gentoo's release keys verify the packages."""
        return self.gentoo is not None and self.verify and self.keys is None

    @model_validator(mode="after")
    def _keys_or_none(self) -> Binhost:
        if self.verify and self.keys is None and not self.gentoo:
            facts = {"hint": "name the file of the public keys, or write `verify = false` to accept every package"}
            raise PydanticCustomError("keys", "`keys` are missing: packages cannot be verified", facts)
        if self.keys is not None and not self.verify:
            facts = {"hint": "remove one of the two"}
            raise PydanticCustomError("keys", "`keys` have no effect with `verify = false`", facts)
        return self
