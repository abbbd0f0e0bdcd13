"""Print the ebuild that Portage would build for an atom. Runs inside a root, with its Python and its Portage."""

import json
import sys

import portage
from portage.dep import Atom

database = portage.db[portage.settings["EROOT"]]["porttree"].dbapi
best = database.xmatch("bestmatch-visible", Atom(sys.argv[1], allow_repo=True))
found = {"package": "", "path": "", "properties": [], "eclasses": []}
if best:
    properties, inherited = database.aux_get(best, ["PROPERTIES", "INHERITED"], myrepo=best.repo)
    path = database.findname(best, myrepo=best.repo)
    found = {"package": str(best), "path": path, "properties": properties.split(), "eclasses": inherited.split()}
print(json.dumps(found))
