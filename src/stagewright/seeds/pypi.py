"""Files of the Python package index, fetched by pip and cached::

<cache>/<sha256>/<file>
"""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.run import run
from stagewright.trees import remove_tree


def fetch_package(requirement: str, cache: Path, *, source: bool, digest: str | None = None) -> Path:
    """Return the sdist (``source``) or wheel of a requirement such as ``portage==3.0.83``.

    ``digest`` is the expected SHA256; a cached file with it is not fetched again. Raises ``FETCH_FAILED`` or
    ``DIGEST_MISMATCH``.
    """
    cache.mkdir(parents=True, exist_ok=True)
    name = requirement.partition("=")[0]
    if digest:
        for file in cache.glob(f"{digest}/*"):
            return file
    folder = cache / f".fetching-{name}.{secrets.token_hex(4)}"  # two seeds may fetch it at the same time
    kind = ["--no-binary", name] if source else ["--only-binary", name]
    try:
        run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind, "--dest", folder, requirement])
    except StagewrightError as error:
        raise StagewrightError(
            Reason.FETCH_FAILED, f"{requirement}: pip cannot fetch it", detail=error.detail, hint="check the network"
        ) from error
    (file,) = folder.iterdir()
    found = file_digest(file)
    if digest and found != digest:
        remove_tree(folder)
        raise StagewrightError(
            Reason.DIGEST_MISMATCH,
            f"{file.name}: wrong sha256 (pinned {digest}, found {found})",
            hint="to pin the new file, run: stagewright update",
        )
    target = cache / found
    try:
        folder.rename(target)
    except OSError:  # another seed has fetched the same file
        remove_tree(folder)
    return target / file.name
