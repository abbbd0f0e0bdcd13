"""The statement about a result in a remote: which blobs it is made of, and who signed that.

A document ``results/layers/<key>`` or ``results/artifacts/<key>`` is an object of JSON::

    statement   text: an object of JSON with the fields of Statement
    signatures  {"openpgp": "-----BEGIN PGP SIGNATURE..."}: signatures of exactly this text

The statement has the digest of ``meta.json``, whose digests cover every file of the result. So a signature of the
statement covers all of the result, and binds it to its key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.openpgp import keyring
from stagewright.graph.node import Yields
from stagewright.release.signing import OpenPgpSigning, verify_minisign
from stagewright.remote.place import Blob
from stagewright.temporary import temporary_folder
from stagewright.untrusted import LARGEST

FORMAT = 1

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MOST_PACKS = 100_000


@dataclass(frozen=True)
class Statement:
    """The blobs of a result. ``size`` is that of the contents of all files in bytes; ``stored`` that of its packs.

    ``parts`` are blobs: ``meta`` (meta.json), ``content`` (the list), ``index`` (where the chunks are), and ``records``
    of some results. ``packs`` are the blobs with the chunks.
    """

    yields: Yields
    key: str
    node: str
    kind: str
    created: float
    size: int
    stack: tuple[str, ...]
    parts: Mapping[str, Blob]
    packs: tuple[Blob, ...]

    @property
    def path(self) -> str:
        """The path of the document."""
        return result_path(self.yields, self.key)

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """All blobs of the result."""
        return (*self.parts.values(), *self.packs)

    @property
    def stored(self) -> int:
        """The size of all its blobs in bytes."""
        return sum(blob.size for blob in self.blobs)

    def text(self) -> str:
        """Return the text that is signed."""
        data = {**asdict(self), "yields": self.yields.value, "format": FORMAT}
        return json.dumps(data, sort_keys=True)

    @classmethod
    def parse(cls, text: str, where: str) -> Statement:
        """Return the statement of a text from another machine. Raises: BAD_LISTING if it is invalid."""
        try:
            data = json.loads(text)
            if data.pop("format") != FORMAT:
                raise _invalid(where, "an unsupported format")
            parts = {str(name): _blob(value) for name, value in data.pop("parts").items()}
            packs = tuple(_blob(value) for value in data.pop("packs"))
            stack = tuple(_digest(one) for one in data.pop("stack"))
            yields, key = Yields(data.pop("yields")), _digest(data.pop("key"))
            node, kind = str(data.pop("node")), str(data.pop("kind"))
            found = cls(
                yields, key, node, kind, float(data.pop("created")), _size(data.pop("size")), stack, parts, packs
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise _invalid(where, str(error) or type(error).__name__) from error
        if not {"meta", "content", "index"} <= parts.keys() or len(packs) > _MOST_PACKS:
            raise _invalid(where, "parts are missing")
        return found


@dataclass(frozen=True)
class Policy:
    """Keys that must have signed results, and the key that signs what this computer pushes.

    ``signers`` are fingerprints of OpenPGP keys and public keys of minisign. Without any, nothing is asked for.
    """

    signers: Sequence[str] = ()
    keyring: Path | None = None
    sign: str | None = None

    def document(self, statement: Statement) -> bytes:
        """Return the document for a statement, signed if a key is set."""
        return json.dumps(self.signed(statement.text())).encode()

    def signed(self, text: str) -> dict[str, Any]:
        """Return a text with its signatures, as JSON-able data."""
        signatures = {"openpgp": _signature(text, self.sign)} if self.sign else {}
        return {"statement": text, "signatures": signatures}

    def read(self, document: bytes, yields: Yields, key: str, where: str) -> Statement:
        """Return the statement of a document after its signature was verified.

        Raises: WRONG_NAME if it is about another result, and what :meth:`verified` and :meth:`Statement.parse` raise.
        """
        text = self.verified(document, where)
        found = Statement.parse(text, where)
        if (found.yields, found.key) != (yields, key):
            raise StagewrightError(
                Reason.WRONG_NAME, f"{where}: about another result ({found.yields} {found.key[:12]})"
            )
        return found

    def verified(self, document: bytes, where: str) -> str:
        """Return the text of a document of :meth:`signed`, after its signature was verified if `signers` are set.

        Raises: NO_SIGNATURE, UNKNOWN_SIGNER or BAD_SIGNATURE; else BAD_LISTING.
        """
        try:
            data: Any = json.loads(document)
            text, signatures = data["statement"], dict(data["signatures"])
            if not isinstance(text, str):
                raise TypeError("not a text")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise _invalid(where, str(error) or type(error).__name__) from error
        if self.signers:
            self._verify(text, signatures, where)
        return text

    def _verify(self, text: str, signatures: Mapping[str, Any], where: str) -> None:
        known = {name: value for name, value in signatures.items() if isinstance(value, str) and len(value) < 1 << 20}
        fingerprints = [one for one in self.signers if not one.startswith("RW")]
        minisign = [one for one in self.signers if one.startswith("RW")]
        with temporary_folder("signature") as folder:
            (folder / "statement").write_text(text, encoding="utf-8")
            if fingerprints and "openpgp" in known:
                (folder / "statement.asc").write_text(known["openpgp"], encoding="utf-8")
                if not self.keyring:
                    hint = "set `keyring` of the remote to a file of gpg --export"
                    raise StagewrightError(Reason.NO_KEYS, f"{where}: no keys to verify with", hint=hint)
                with keyring([self.keyring], fingerprints) as keys:
                    keys.verify(folder / "statement.asc", folder / "statement", where)
                return
            if minisign and "minisign" in known:
                (folder / "statement.minisig").write_text(known["minisign"], encoding="utf-8")
                for number, key in enumerate(minisign, 1):
                    try:
                        verify_minisign(key, folder / "statement.minisig", folder / "statement", where)
                    except StagewrightError as error:
                        if error.reason is not Reason.UNKNOWN_SIGNER or number == len(minisign):
                            raise
                    else:
                        return
        hint = "push it again with `sign`, or remove `signers` of the remote"
        raise StagewrightError(Reason.NO_SIGNATURE, f"{where}: not signed by a key of `signers`", hint=hint)


@dataclass(frozen=True)
class IndexRow:
    """Where a chunk is: its name, the number of its pack, start and length there, and its size uncompressed."""

    name: str
    pack: int
    start: int
    length: int
    size: int


@dataclass(frozen=True)
class Index:
    """Where the chunks of a result are, in the order of the stream."""

    packs: Sequence[Blob]
    rows: Sequence[IndexRow] = field(default_factory=list)

    def data(self) -> bytes:
        """Return the index as JSON: an array for each chunk."""
        return json.dumps([[one.name, one.pack, one.start, one.length, one.size] for one in self.rows]).encode()

    @classmethod
    def parse(cls, data: bytes, packs: Sequence[Blob], size: int, where: str) -> Index:
        """Return the index of a result with these packs, whose files have so many bytes. Raises: BAD_LISTING."""
        try:
            rows = [IndexRow(_digest(one[0]), *map(_size, one[1:])) for one in json.loads(data)]
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            raise _invalid(where, str(error) or type(error).__name__) from error
        for row in rows:
            if row.pack >= len(packs) or row.start + row.length > packs[row.pack].size or not row.length:
                raise _invalid(where, "a chunk outside of its pack")
        if sum(row.size for row in rows) != size:
            raise _invalid(where, "not the size of all files")
        return cls(packs, rows)


def result_path(yields: Yields, key: str) -> str:
    """Return the path of the document of a result."""
    return f"results/{yields.folder}/{key}"


def _signature(text: str, key: str) -> str:
    with temporary_folder("signature") as folder:
        (folder / "statement").write_text(text, encoding="utf-8")
        OpenPgpSigning(key=key).sign(folder, ["statement"], [], folder / "scratch")
        return (folder / "statement.asc").read_text(encoding="utf-8")


def _blob(value: Any) -> Blob:
    return blob_of(value["digest"], value["size"])


def blob_of(digest: Any, size: Any) -> Blob:
    """Return the blob with a digest and a size from a document of strangers. Raises: ValueError."""
    return Blob(_digest(digest), _size(size))


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError("not a digest")
    return value


def _size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
        raise ValueError("not a size")
    return value


def _invalid(where: str, why: str) -> StagewrightError:
    return StagewrightError(Reason.BAD_LISTING, f"{where}: not a statement about a result ({why})")
