"""Renumber and sign binary packages, and write their index, with Portage's code. Runs inside a root.

The last line of the output is JSON: an error message, or null.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

HOME = "/run/stagewright/gnupg"
"""A folder in memory, so that the secret key is never written to a disk."""


def gpg(*words):
    """Run gpg on the keyring and return its result."""
    line = ["gpg", "--homedir", HOME, "--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def prepare(sign):
    """Import the secret key and configure Portage to sign. Return an error message, or None."""
    Path(HOME).mkdir(mode=0o700, parents=True)
    phrase = ["--passphrase-file", sign["passphrase"]] if sign["passphrase"] else []
    imported = gpg("--import", sign["secret"])
    if gpg("--list-secret-keys", sign["key"]).returncode:
        return f"the file holds no secret key {sign['key']}\n{imported.stderr}"
    signed = gpg(*phrase, "--local-user", sign["key"], "--output", os.devnull, "--yes", "--sign", sys.argv[1])
    if signed.returncode:
        return f"the key cannot sign: {signed.stderr}"
    Path(HOME, "trust").write_text(f"{sign['key'].upper()}:6:\n", encoding="utf-8")
    gpg("--import-ownertrust", f"{HOME}/trust")
    gpg("--check-trustdb")
    Path(sign["public"]).write_text(gpg("--armor", "--export", sign["key"]).stdout, encoding="utf-8")
    os.environ |= {
        "BINPKG_GPG_SIGNING_BASE_COMMAND": " ".join(
            ["/usr/bin/gpg --sign --armor --pinentry-mode loopback", *phrase, "[PORTAGE_CONFIG]"]
        ),
        "BINPKG_GPG_SIGNING_GPG_HOME": HOME,
        "BINPKG_GPG_SIGNING_KEY": sign["key"],
        "BINPKG_GPG_VERIFY_GPG_HOME": HOME,  # emaint verifies the new signatures
        "GPG_VERIFY_USER_DROP": "root",
        "GPG_VERIFY_GROUP_DROP": "root",
    }
    return None


def publish(request):
    """Carry out the request. Return an error message, or None."""
    if request["sign"] and (problem := prepare(request["sign"])):
        return problem
    import portage  # noqa: PLC0415  Portage reads the variables above on import
    from portage import gpkg  # noqa: PLC0415

    for path, number in request["renumber"].items():
        package = gpkg.gpkg(settings=portage.settings, gpkg_file=path)
        metadata = package.get_metadata()
        metadata["BUILD_ID"] = f"{number}\n".encode()
        package.update_metadata(metadata, new_basename=f"{metadata['PF'].decode().strip()}-{number}")
    for path in request["packages"] if request["sign"] else ():
        gpkg.gpkg(settings=portage.settings, gpkg_file=path).update_signature()
    os.environ["FEATURES"] = "compress-index"
    sys.stdout.flush()
    subprocess.run(["emaint", "--fix", "binhost"], check=True)
    return None


print(json.dumps(publish(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
