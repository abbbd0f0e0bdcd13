"""Signatures of feeds by keys that exist for one test only."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from stagewright.media.updates.feed import SUMS
from stagewright.root.sandbox import Bind, signer
from stagewright.run import run

_SCRIPT = """set -eu
umask 077
for key in own foreign; do
	export GNUPGHOME=/run/$key
	mkdir "$GNUPGHOME"
	gpg --batch --quiet --passphrase '' --quick-generate-key "key of a test" ed25519 sign never
	gpg --batch --quiet --output /tmp/out/$key.gpg --export
done
for request in "$@"; do
	GNUPGHOME=/run/${request%%:*} gpg --batch --quiet --output "/tmp/out/${request#*:}" --detach-sign \\
		"/tmp/in/${request#*:}"
done
"""


def sign_lists(site: Path, names: Sequence[str], keyring: Path, *, foreign: Collection[str], work: Path) -> None:
    """Sign SHA256SUMS in folders of a site, by a new key that is written to ``keyring``.

    Another key signs those in ``foreign``. ``work`` is an empty folder for temporary files.
    """
    inside, out = work / "in", work / "out"
    for folder in (inside, out):
        folder.mkdir()
    for name in names:
        shutil.copyfile(site / name / SUMS, inside / name)
    requests = [f"{'foreign' if name in foreign else 'own'}:{name}" for name in names]
    run(signer(out, "/tmp/out", ["sh", "-c", _SCRIPT, "sh", *requests], binds=[Bind(inside, "/tmp/in")]))
    for name in names:
        shutil.copyfile(out / name, site / name / f"{SUMS}.gpg")
    shutil.copyfile(out / "own.gpg", keyring)
