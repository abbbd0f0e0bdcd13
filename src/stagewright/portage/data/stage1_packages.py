"""Print the packages of a stage1 as JSON. Runs inside a root, with its Python and its Portage.

``packages`` are the atoms of the profile's packages.build. The profile's ``packages`` file may replace an atom, for
example by one with a version. ``bootstrap_use`` is the profile's BOOTSTRAP_USE. See portage(5).
"""

import json

import portage
from portage.dep import Atom
from portage.util import grabfile_package, stack_lists


def stacked(name: str) -> list[str]:
    """Return the lines of a file of the profile, each profile after its parents."""
    files = [grabfile_package(f"{profile}/{name}") for profile in portage.settings.profiles]
    return stack_lists(files, incremental=1)


system = {atom.cp: str(atom) for atom in (Atom(str(line).lstrip("*")) for line in stacked("packages"))}
build = [system.get(Atom(str(line)).cp, str(line)) for line in stacked("packages.build")]
print(
    json.dumps(
        {
            "packages": sorted(set(build)),
            "bootstrap_use": portage.settings.get("BOOTSTRAP_USE", ""),
        }
    )
)
