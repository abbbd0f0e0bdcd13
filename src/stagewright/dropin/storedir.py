"""Results in Catalyst's storedir, in the layout of Catalyst.

::

    builds/<rel_type>/<target>-<subarch>-<version_stamp>.tar.xz    or the name that rename_regexp makes of it
    builds/<rel_type>/<name>.iso, <name>.qcow2
        each with .CONTENTS.gz, .DIGESTS, .sha256 and .manifest.json
    packages/<rel_type>/<target>-<subarch>/       a binary package host, with the packages of all runs
    snapshots/<repo>-<treeish>.sqfs               by dropin/snapshot.py
    .stagewright/<identity>.json                  by dropin/ledger.py

Files are hard links to those of the store if the file system allows it. An existing file is replaced, as in Catalyst,
but atomically, and the companions of an artifact are written before it. There is no kerncache, since the store has the
kernels. Catalyst also leaves a tarball of the live root next to each ISO, and the folder that it was made from. No
known program reads these, so they are not written.
"""

from __future__ import annotations

import enum
import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagewright.engine.plan import Plan
from stagewright.kinds.registry import facts_of
from stagewright.portage.index import merge_indexes
from stagewright.release.artifact_digests import ALGORITHMS, LISTED, FileDigests, companion, digest_artifact
from stagewright.release.manifest import SUFFIX, read_manifest
from stagewright.root.sandbox import run_host_program
from stagewright.store.durable import write_atomically
from stagewright.store.links import link, locked
from stagewright.store.store import Store

INDEX = "Packages"


class Layout(enum.StrEnum):
    """The arrangement of the files of a node in the storedir."""

    FILE = "file"  # one artifact with its companions
    FOLDER = "folder"  # all files in a folder with the name of the result
    PACKAGES = "packages"  # binary packages, added to those in the folder


@dataclass(frozen=True)
class Placed:
    """The files of a node, and the absolute path of the artifact or folder."""

    node: str
    path: Path
    layout: Layout = Layout.FILE


@dataclass(frozen=True)
class DigestStyle:
    """The digests to write, by the names of hashlib, and the format of their lines: ``linux`` or ``bsd``.

    If the configuration has no ``digests``, Catalyst writes none; here the digests of Gentoo's releases are written.
    """

    names: Sequence[str] = LISTED
    form: str = "linux"

    @classmethod
    def of(cls, digests: Sequence[str], form: str) -> DigestStyle:
        """Return the style of a configuration."""
        return cls(tuple(digests) or LISTED, form)

    def lines(self, file: FileDigests, names: Iterable[str] | None = None) -> str:
        """Return the lines of one file."""
        return "".join(
            f"# {name.upper()} HASH\n{self._line(name, file)}\n" for name in (self.names if names is None else names)
        )

    def _line(self, name: str, file: FileDigests) -> str:
        if self.form == "bsd":
            return f"{name.upper()} ({file.file}) = {file.digests[name]}"
        return f"{file.digests[name]}  {file.file}"


def publish(placed: Iterable[Placed], plan: Plan, store: Store, style: DigestStyle) -> list[Path]:
    """Publish the results that are built into the storedir, and return their paths."""
    done = []
    for one in placed:
        step = plan.steps[one.node]
        if not store.has(step.node.yields, step.key.digest):
            continue
        tree = store.tree(step.node.yields, step.key.digest)
        if one.layout is Layout.FILE:
            main = facts_of(store.meta(step.node.yields, step.key.digest)).main_file
            assert main, "only artifacts of one file are laid out like this"
            _file(tree / main, one.path, style)
        elif one.layout is Layout.FOLDER:
            _folder(tree, one.path)
        else:
            with locked(one.path.with_name(f".{one.path.name}.lock")):
                _packages(tree, one.path)
        done.append(one.path)
    return done


def _file(source: Path, target: Path, style: DigestStyle) -> None:
    """Publish one artifact under its name in the storedir, which can differ from that in the store."""
    known = read_manifest(companion(source, SUFFIX))
    files = [_named(known["artifact"], target.name)]
    target.parent.mkdir(parents=True, exist_ok=True)
    listing = companion(target, "CONTENTS.gz")
    if "contents" in known:
        link(companion(source, "CONTENTS.gz"), listing)
        files.append(_named(known["contents"], listing.name))
    elif source.suffix == ".iso":
        _write_listing(source, listing)
        files.append(digest_artifact(listing))
    paths = [source, listing]
    more = [name for name in style.names if name not in ALGORITHMS]
    every = [_with_more(file, path, more) for file, path in zip(files, paths, strict=False)]
    write_atomically(companion(target, "DIGESTS"), "".join(style.lines(file) for file in every))
    write_atomically(companion(target, "sha256"), style.lines(files[0], ["sha256"]))
    if source.name == target.name:
        link(companion(source, SUFFIX), companion(target, SUFFIX))
    else:
        named = dict(zip(("artifact", "contents"), (file.to_dict() for file in files), strict=False))
        write_atomically(companion(target, SUFFIX), json.dumps({**known, **named}, indent=1, ensure_ascii=False) + "\n")
    link(source, target)


def _named(known: Mapping[str, object], name: str) -> FileDigests:
    """Return the digests of a file from its manifest, under another name."""
    size, digests = known["size"], known["digests"]
    assert isinstance(size, int)
    assert isinstance(digests, dict)
    return FileDigests(name, size, digests)


def _with_more(file: FileDigests, path: Path, names: Sequence[str]) -> FileDigests:
    """Return the digests of a file with further ones that its manifest does not have; the file is read for these."""
    more = {}
    for name in names:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, name)
        size = {"shake_128": 32, "shake_256": 64}.get(name)  # these two have a variable length
        more[name] = digest.hexdigest(size) if size else digest.hexdigest()  # type: ignore[call-arg]
    return FileDigests(file.file, file.size, {**file.digests, **more})


def _write_listing(image: Path, target: Path) -> None:
    """Write the list of the files of an ISO, in the format of ``ls -l``, compressed with gzip."""
    image = image.absolute()
    text = run_host_program(["xorriso", "-indev", image, "-find", "/", "-exec", "lsdl", "--"], reads=[image]).stdout
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as stream:
        stream.write(text.encode())
    write_atomically(target, packed.getvalue())


def _folder(tree: Path, target: Path) -> None:
    """Publish all files of a tree, and remove all others from the folder."""
    wanted = {path.relative_to(tree) for path in tree.rglob("*") if path.is_file()}
    for name in sorted(wanted):
        link(tree / name, target / name)
    for path in sorted(target.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(target) not in wanted:
            path.unlink()


def _packages(tree: Path, target: Path) -> None:
    """Add binary packages to a folder: several specs can share one, as Catalyst's pkgcache.

    Packages are written before the index that lists them. Packages of earlier runs stay, also in the index.
    """
    for source in sorted(tree.rglob("*")):
        name = source.relative_to(tree)
        if source.is_file() and name.parts[0] not in (INDEX, f"{INDEX}.gz"):
            link(source, target / name)
    target.mkdir(parents=True, exist_ok=True)
    old = target / INDEX
    text = merge_indexes(
        old.read_text(encoding="utf-8") if old.is_file() else "",
        (tree / INDEX).read_text(encoding="utf-8"),
        lambda path: (target / path).is_file(),
    )
    if old.is_file() and old.read_text(encoding="utf-8") == text:
        return
    packed = target / f".{INDEX}.gz.new"
    packed.write_bytes(gzip.compress(text.encode(), mtime=0))
    packed.replace(target / f"{INDEX}.gz")
    write_atomically(old, text)
