"""Print Gentoo's security advisories about packages as JSON. Runs inside a root, with its Python and its Portage.

The first argument is a file with the request: ``folders`` with advisories (glsa-*.xml), the ``arches`` of the packages,
and ``packages`` as pairs of category/name-version and slot. The answer has for each advisory its id, title, severity,
and the numbers of the packages that it is about. See glsa-check(1) and the GLSA DTD.
"""

import json
import pathlib
import sys
from xml.parsers.expat import ExpatError

import portage
from portage.dbapi.virtual import fakedbapi
from portage.exception import PortageException
from portage.glsa import ARCH_REGEX, Glsa, GlsaFormatException, GlsaTypeException, match
from portage.versions import cpv_getkey

UNREADABLE = (ExpatError, GlsaFormatException, GlsaTypeException, PortageException, LookupError, ValueError)


class OnePackage(fakedbapi):
    """A database with one package."""

    def __init__(self, cpv: str, slot: str) -> None:
        super().__init__(portage.settings)
        self.cpv_inject(cpv, metadata={"SLOT": slot or "0", "EAPI": "8", "KEYWORDS": "", "repository": "x"})


def is_about(advisory: Glsa, cpv: str, slot: str, arches: list) -> bool:
    """Return True if a package is one of the vulnerable versions, and not one of the unaffected ones."""
    database = OnePackage(cpv, slot)
    for entry in advisory.packages.get(cpv_getkey(cpv), []):
        named = entry["arch"]
        if not ARCH_REGEX.match(named) or (named != "*" and not set(arches) & set(named.split())):
            continue
        vulnerable = any(match(atom, database) for atom in entry["vul_atoms"])
        if vulnerable and not any(match(atom, database) for atom in entry["unaff_atoms"]):
            return True
    return False


def advisories(folder: str, packages: dict) -> list:
    """Return the advisories of a folder that have names of packages in them, with their ids."""
    found = []
    for path in sorted(pathlib.Path(folder).glob("glsa-*.xml")):
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 20)
        if any(package in text for package in packages):
            try:
                found.append((path.stem[5:], Glsa(str(path), portage.settings, None, None)))
            except UNREADABLE as error:
                unreadable.append(f"{path.name}: {error}")
    return found


with pathlib.Path(sys.argv[1]).open(encoding="utf-8") as file:
    request = json.load(file)
by_name: dict = {}
for number, (cpv, slot) in enumerate(request["packages"]):
    by_name.setdefault(cpv_getkey(cpv), []).append((number, cpv, slot))
unreadable: list = []
answer = []
for folder in request["folders"]:
    for number, advisory in advisories(folder, by_name):
        candidates = [one for name in advisory.packages for one in by_name.get(name, [])]
        about = [place for place, cpv, slot in candidates if is_about(advisory, cpv, slot, request["arches"])]
        if about:
            facts = {"id": number, "title": advisory.title, "severity": advisory.impact_type}
            answer.append({**facts, "packages": sorted(set(about))})
print(json.dumps({"advisories": answer, "unreadable": unreadable}))
