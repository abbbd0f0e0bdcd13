"""Check binary packages against the keys of their hosts, by Portage's own code. Runs inside a root.

The last line of the output is a JSON list of what is not to be used: host, path, what is wrong, and gpg's words on it.
"""

import contextlib
import io
import json
import sys
from pathlib import Path

import portage
from portage import exception, gpkg


def wrong(entry):
    """What is wrong with a package, and gpg's words on it; nothing when all is well.

    Of a signature that is not good gpg's status lines say what is wrong: the first text is empty then.
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
        return "it is not signed", said.getvalue()
    except exception.InvalidSignature:
        return "", said.getvalue()
    except Exception as error:  # noqa: BLE001  whatever is in the file
        return f"it is damaged: {error}", said.getvalue()
    name = f"{found.get('CATEGORY')}/{found.get('PF')}"
    return None if name == entry["cpv"] else (f"it is {name}, not {entry['cpv']} as the index says", "")


problems = [(entry, wrong(entry)) for entry in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))]
print(
    json.dumps(
        [
            {"host": entry["host"], "path": entry["path"], "what": problem[0], "detail": problem[1]}
            for entry, problem in problems
            if problem
        ]
    )
)
