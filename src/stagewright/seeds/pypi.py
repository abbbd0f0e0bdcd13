"""Files of the Python package index, fetched by pip and cached::

<cache>/<sha256>/<file>

pip runs code of a source distribution to learn its name and version, before anything can compare its digest. So pip
runs in the sandbox of a bootstrap. The settings of the user reach it as variables of the environment.
"""

from __future__ import annotations

import ast
import re
import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.file_digest import file_digest
from stagewright.interpreter import python
from stagewright.root.download_sandbox import PLACE, fetcher
from stagewright.run import run
from stagewright.seeds.apt import local_files, local_services
from stagewright.trees import remove_tree

if TYPE_CHECKING:
    from stagewright.root.network import Service

_SETTING = re.compile(r"(?:global|download)\.(?P<name>[a-z0-9-]+)=(?P<value>(['\"]).*\3)")
"""A line of ``pip config list`` that matters to a download."""

_INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def fetch_package(
    requirement: str, cache: Path, *, source: bool, digest: str | None = None, services: Sequence[Service] = ()
) -> Path:
    """Return the sdist (``source``) or wheel of a requirement such as ``portage==3.0.83``.

    ``digest`` is the expected SHA256; a cached file with it is not fetched again. ``services`` are those of this
    machine that the sandbox can reach. Raises ``FETCH_FAILED`` or ``DIGEST_MISMATCH``.
    """
    cache.mkdir(parents=True, exist_ok=True)
    name = requirement.partition("=")[0]
    if digest:
        for file in cache.glob(f"{digest}/*"):
            return file
    folder = cache / f".fetching-{name}.{secrets.token_hex(4)}"  # two seeds may fetch it at the same time
    folder.mkdir()
    try:
        file = _download(["--no-binary" if source else "--only-binary", name, requirement], folder, services)
        found = file_digest(file)
        if digest and found != digest:
            raise StagewrightError(
                Reason.DIGEST_MISMATCH,
                f"{file.name}: wrong sha256 (pinned {digest}, found {found})",
                hint="to pin the new file, run: stagewright update",
            )
        target = cache / found
        if not target.exists():  # another seed may have fetched the same file
            folder.rename(target)
    finally:
        remove_tree(folder)
    return target / file.name


def _download(words: Sequence[str], folder: Path, services: Sequence[Service]) -> Path:
    """Run pip, and return the only file in the folder."""
    requirement = words[-1]
    settings = _settings()
    texts = [f'"{word}"' for value in settings.values() for word in value.split()]
    reads = [Path(sys.base_prefix), Path(sys.prefix), *_visible(settings, texts)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--dest", PLACE]
    env = {"PIP_CONFIG_FILE": "/dev/null", "HOME": "/tmp", **settings}
    try:
        with fetcher(
            folder, [*command, *words], reads=reads, services=[*services, *local_services(texts)]
        ) as sandboxed:
            run(sandboxed.words, env=env, pass_fds=sandboxed.descriptors)
    except StagewrightError as error:
        raise StagewrightError(
            Reason.FETCH_FAILED, f"{requirement}: pip cannot fetch it", detail=error.detail, hint="check the network"
        ) from error
    tree = Tree(folder, links=False)
    names = tree.names()
    regular = [name for name, _ in tree.files()]
    if len(names) != 1 or regular != names or not _FILE_NAME.fullmatch(names[0]):
        message = f"{requirement}: pip did not write one file (found {names[:5]})"
        raise StagewrightError(Reason.FETCH_FAILED, message, hint="report it to the package index")
    return folder / names[0]


def _visible(settings: Mapping[str, str], texts: Sequence[str]) -> list[Path]:
    """Return the files and folders of this machine that the settings name. The pages of an index link to its parent."""
    indexes = [f'"{word}"' for name in _INDEXES for word in settings.get(name, "").split()]
    parents = [path.parent for path in local_files(indexes)]
    return [*local_files(texts), *(path for path in parents if len(path.parts) > 2 and path != Path.home())]


def _settings() -> dict[str, str]:
    """Return the settings of pip in the files of the user and of this machine, as variables of the environment."""
    listing = run(python("pip", "config", "list"), check=False).stdout
    found = filter(None, map(_SETTING.fullmatch, listing.splitlines()))
    return {f"PIP_{one['name'].upper().replace('-', '_')}": str(ast.literal_eval(one["value"])) for one in found}
