"""Print the commits of the clones that git-r3.eclass made: by clone, and by the id under which it was fetched.

Runs inside a root. The eclass keeps the commit of a fetch in the reference ``refs/git-r3/<id>/__main__`` of the clone.
"""

import json
import subprocess
import sys
from pathlib import Path

PREFIX, NAME = "refs/git-r3/", "/__main__"
found = {}
for clone in sorted(Path(sys.argv[1]).iterdir()):
    words = ["git", "--git-dir", str(clone), "for-each-ref", "--format=%(objectname) %(refname)", PREFIX]
    lines = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    refs = [line.split(" ", 1) for line in lines]
    found[clone.name] = {name[len(PREFIX) : -len(NAME)]: commit for commit, name in refs if name.endswith(NAME)}
print(json.dumps(found))
