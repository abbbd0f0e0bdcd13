"""Print the installed packages that match atoms and @sets. Runs inside a root, with its Python and its Portage.

A virtual matches the packages that satisfy it, since it has no files. See PMS 8.3 and emerge(1).
"""

import json
import sys

import portage
from portage._sets import load_default_config
from portage.dbapi._expand_new_virt import expand_new_virt

eroot = portage.settings["EROOT"]
database = portage.db[eroot]["vartree"].dbapi
sets = load_default_config(portage.settings, portage.db[eroot])
known = sets.getSets()


def atoms(word: str) -> list[str]:
    """Return the atoms of a set, or the atom itself."""
    if not word.startswith("@"):
        return [word]
    return [str(atom) for atom in sets.getSetAtoms(word[1:])] if word[1:] in known else []


def packages(word: str) -> list[str]:
    """Return the installed packages, as category/name-version."""
    parts = [part for atom in atoms(word) for part in expand_new_virt(database, atom)]
    return sorted({cpv for part in parts for cpv in database.match(part)})


print(json.dumps({word: packages(word) for word in sys.argv[1:]}))
