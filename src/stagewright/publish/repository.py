"""A repository of a container registry, reached by skopeo(1), with the logins that it knows."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from stagewright.errors import Reason, StagewrightError
from stagewright.run import Result, network, run

_UNKNOWN = re.compile(r"(manifest|name)[ _]unknown|repository name not known|StatusCode: 404", re.IGNORECASE)
"""Messages of skopeo about a registry that lacks a tag or the repository."""
_NO_TAGS = re.compile(r"status code from registry 404|name[ _]unknown|repository name not known", re.IGNORECASE)
"""Messages of skopeo about a repository without tags."""
_GONE = re.compile(r"Image may not exist|manifest[ _]unknown", re.IGNORECASE)
"""Messages of skopeo about a manifest to delete that does not exist."""
_REFUSED = re.compile(r"unauthorized|denied|authentication required", re.IGNORECASE)
_NO_DELETE = re.compile(r"unsupported|405 Method Not Allowed", re.IGNORECASE)
_LOOPBACK = re.compile(r"(127\.\d+\.\d+\.\d+|localhost|\[::1\])(:\d+)?/")
"""Registries on this computer, which have no certificate."""


@dataclass(frozen=True)
class Repository:
    """A repository: ``registry.example.org/project/live``."""

    path: str

    @property
    def name(self) -> str:
        """The address for messages."""
        return f"oci://{self.path}"

    @property
    def encrypted(self) -> bool:
        """True if connections to the registry are encrypted."""
        return not is_on_loopback(self.path)

    def reference(self, tag: str) -> str:
        """Return the word for skopeo for a tag or a digest."""
        return f"docker://{self.path}{'@' if ':' in tag else ':'}{tag}"

    def manifest(self, tag: str) -> bytes | None:
        """Return the manifest of a tag or digest; None if it does not exist."""
        result = self._skopeo("inspect", "--raw", *self._tls("--tls-verify"), self.reference(tag), check=False)
        if result.code:
            if _UNKNOWN.search(result.stderr):
                return None
            raise self._failure(result)
        return result.stdout.encode()

    def tags(self) -> list[str]:
        """Return all tags; none if the repository does not exist."""
        words = ["list-tags", *self._tls("--tls-verify"), f"docker://{self.path}"]
        result = self._skopeo(*words, check=False)
        if result.code:
            if _NO_TAGS.search(result.stderr):
                return []
            raise self._failure(result)
        return [str(tag) for tag in json_object(result.stdout.encode()).get("Tags") or []]

    def upload(self, layout: str, tag: str) -> None:
        """Copy a manifest of an OCI layout, with its blobs, to a tag or to its digest."""
        self._copy(layout, self.reference(tag), "--dest-tls-verify")

    def download(self, tag: str, layout: str) -> None:
        """Copy a tag to an OCI layout. skopeo verifies the digest of every blob that it reads."""
        self._copy(self.reference(tag), layout, "--src-tls-verify")

    def delete(self, tag: str) -> bool:
        """Delete the manifest of a tag or digest, with all its tags. Return False if the registry does not allow it."""
        result = self._skopeo("delete", *self._tls("--tls-verify"), self.reference(tag), check=False)
        if not result.code or _GONE.search(result.stderr):
            return True
        if _NO_DELETE.search(result.stderr) or _REFUSED.search(result.stderr):
            return False
        raise self._failure(result)

    def _copy(self, source: str, target: str, option: str) -> None:
        self._skopeo("copy", "--quiet", "--preserve-digests", "--retry-times", "3", *self._tls(option), source, target)

    def _tls(self, option: str) -> list[str]:
        return [] if self.encrypted else [f"{option}=false"]

    def _skopeo(self, *words: str, check: bool = True) -> Result:
        result = run(["skopeo", "--insecure-policy", *words], env=network(), check=False)
        if check and result.code:
            raise self._failure(result)
        return result

    def _failure(self, result: Result) -> StagewrightError:
        said = result.stderr.strip()
        if _REFUSED.search(said):
            what = f"{self.name}: the registry does not accept it"
            hint = f"log in: skopeo login {self.path.partition('/')[0]}; the same command goes on"
            return StagewrightError(Reason.USAGE, what, detail=said, hint=hint)
        what, hint = f"{self.name}: the registry does not answer as expected", "try it: skopeo inspect"
        return StagewrightError(Reason.FETCH_FAILED, what, detail=said, hint=hint)


def is_on_loopback(address: str) -> bool:
    """Return True if an address without a scheme, ``HOST/PATH``, is on this computer."""
    return bool(_LOOPBACK.match(address))


def digest_of(manifest: bytes) -> str:
    """Return the digest of a manifest."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"


def json_object(data: bytes | None) -> dict[str, Any]:
    """Return the object that JSON has; an empty one for anything else."""
    try:
        found = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
