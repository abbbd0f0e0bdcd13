"""Files from the Python package index, fetched by pip and kept by digest."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.run import run
from stagewright.store.store import remove_tree


def fetch_package(requirement: str, cache: Path, *, source: bool, digest: str | None = None) -> Path:
    """The sdist (``source``) or wheel of a requirement such as ``portage==3.0.83``.

    With a digest, the file of exactly that content: from the cache, or fetched and compared. Raises
    ``FETCH_FAILED`` or ``DIGEST_MISMATCH``.
    """
    cache.mkdir(parents=True, exist_ok=True)
    name = requirement.partition("=")[0]
    if digest:
        for file in cache.glob(f"{digest}/*"):
            return file
    folder = cache / f".fetching-{name}.{secrets.token_hex(4)}"  # two seeds may want it at the same time
    kind = ["--no-binary", name] if source else ["--only-binary", name]
    try:
        run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind, "--dest", folder, requirement])
    except StagewrightError as error:
        raise StagewrightError(
            Reason.FETCH_FAILED, f"could not fetch {requirement}", detail=error.detail, hint="is the network there?"
        ) from error
    (file,) = folder.iterdir()
    found = file_digest(file)
    if digest and found != digest:
        remove_tree(folder)
        raise StagewrightError(
            Reason.DIGEST_MISMATCH,
            f"{file.name} has sha256 {found}, but {digest} is pinned",
            hint="stagewright update moves the pin, if that is what you want",
        )
    target = cache / found
    try:
        folder.rename(target)
    except OSError:  # another seed was faster
        remove_tree(folder)
    return target / file.name
