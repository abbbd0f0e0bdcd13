"""Verify binary packages with the keys of their hosts, by Portage's own code. Runs inside a root.

The last line of the output is a JSON list of the rejected packages: host, path, error, and the output of gpg.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import portage
from portage import exception, gpkg


def error_of(entry):
    """Return the error of a package and the output of gpg, or None if the package is good.

    The error is "" for an invalid signature, which gpg's status lines explain.
    """
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
        return "not signed", said.getvalue()
    except exception.InvalidSignature:
        return "", said.getvalue()
    except Exception as error:  # noqa: BLE001  whatever is in the file
        return f"damaged ({error})", said.getvalue()
    name = f"{found.get('CATEGORY')}/{found.get('PF')}"
    return None if name == entry["cpv"] else (f"the file is {name}, but the index says {entry['cpv']}", "")


problems = [(entry, error_of(entry)) for entry in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))]
print(
    json.dumps(
        [
            {"host": entry["host"], "path": entry["path"], "what": problem[0], "detail": problem[1]}
            for entry, problem in problems
            if problem
        ]
    )
)
