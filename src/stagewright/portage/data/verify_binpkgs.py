"""Check binary packages against the keys of their hosts, by Portage's own code. Runs inside a root.

The last line of the output is a JSON list of what is not to be used: host, path, what is wrong, and gpg's words on it.
"""

import contextlib
import io
import json
import re
import sys
from pathlib import Path

import portage
from portage import exception, gpkg

SAYINGS = (
    (r"NO_PUBKEY (\w+)", "it is signed with another key, {}"),
    (r"BADSIG (\w+)", "its signature by {} does not fit its content"),
    (r"REVKEYSIG (\w+)", "it is signed with the key {}, which was revoked"),
    (r"EXPKEYSIG (\w+)", "it is signed with the key {}, which has expired"),
    (r"EXPSIG (\w+)", "its signature by {} has expired"),
    (r"NODATA", "it is not signed"),
)
"""What gpg's status lines mean (doc/DETAILS of GnuPG)."""


def wrong(entry):
    """What is wrong with a package, and gpg's words on it; nothing when all is well."""
    settings = portage.config(clone=portage.settings)
    settings["BINPKG_GPG_VERIFY_GPG_HOME"] = entry["home"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            file = str(Path(entry["location"], entry["path"]))
            package = gpkg.gpkg(settings=settings, gpkg_file=file, verify_signature=True)
            package._verify_binpkg()
            found = {name: text.decode().strip() for name, text in package.get_metadata().items() if name.isupper()}
    except exception.MissingSignature:
        return "it is not signed", said.getvalue()
    except exception.InvalidSignature:
        for pattern, meaning in SAYINGS:
            if match := re.search(r"\[GNUPG:\] " + pattern, said.getvalue()):
                return meaning.format(*match.groups()), said.getvalue()
        return "its signature is not good", said.getvalue()
    except Exception as error:  # noqa: BLE001  whatever is in the file
        return f"it is damaged: {error}", said.getvalue()
    name = f"{found.get('CATEGORY')}/{found.get('PF')}"
    return None if name == entry["cpv"] else (f"it is {name}, not {entry['cpv']} as the index says", "")


problems = [(entry, wrong(entry)) for entry in json.loads(Path(sys.argv[1]).read_text())]
print(
    json.dumps(
        [
            {"host": entry["host"], "path": entry["path"], "what": problem[0], "detail": problem[1]}
            for entry, problem in problems
            if problem
        ]
    )
)
