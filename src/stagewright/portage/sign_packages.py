"""Signatures of binary packages (GLEP 78), made outside of any root: no build ever sees the secret key.

gpg runs on the host in a sandbox without network, whose home is in memory and ends with it. It reads the packages and
writes only signatures. Stagewright then writes the packages again, with the signatures in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.openpgp import keyring
from stagewright.portage import gpkg
from stagewright.root.sandbox import Bind, signer
from stagewright.run import Result, run

_NO_KEY, _CANNOT_SIGN = 3, 4
"""Exit codes of ``sign_packages.sh``."""


@dataclass(frozen=True)
class PackageSigner:
    """A key for signatures: its fingerprint, the file with the secret key, and the file with its passphrase.

    ``scratch`` is a new folder on the file system of the packages, ``epoch`` the time of members (seconds since 1970).
    """

    key: str
    secret: Path
    passphrase: Path | None
    scratch: Path
    epoch: int

    def sign(self, files: Sequence[Path]) -> str:
        """Sign packages, and return the public key. New files replace the given ones.

        Raises: INVALID_VALUE if the file does not hold the key or the key cannot sign.
        """
        inside, signatures = self.scratch / "in", self.scratch / "out"
        for folder in (inside, signatures):
            folder.mkdir(parents=True)
        packages = [gpkg.read(file) for file in files]
        for number, file in enumerate(files):
            os.link(file, inside / str(number))
        members = [(number, member) for number, one in enumerate(packages) for member in _signed_members(one)]
        self._run([f"detach {number} {one.offset} {one.size} {number}.{one.name}" for number, one in members])
        parts = [_signed_parts(package, number, signatures) for number, package in enumerate(packages)]
        texts = [_manifest(package, found) for package, found in zip(packages, parts, strict=True)]
        for number, text in enumerate(texts):
            (inside / f"{number}.Manifest").write_bytes(text)
        self._run([f"clear {number}.Manifest 0 {len(text)} {number}.Manifest" for number, text in enumerate(texts)])
        for number, package in enumerate(packages):
            signed = gpkg.Part.of(gpkg.MANIFEST, (signatures / f"{number}.Manifest").read_bytes())
            new = self.scratch / f"{number}.new"
            gpkg.write(new, package.basename, [*parts[number], signed], self.epoch)
            new.rename(package.path)
        self._verify(files, signatures / "public")
        return (signatures / "public").read_text(encoding="utf-8")

    def _run(self, requests: Iterable[str]) -> None:
        """Run gpg with requests of ``sign_packages.sh``."""
        secrets = [Bind(self.secret, "/tmp/secret")]
        secrets += [Bind(self.passphrase, "/tmp/passphrase")] if self.passphrase else []
        with resources.as_file(resources.files("stagewright.portage") / "data" / "sign_packages.sh") as script:
            binds = [*secrets, Bind(script, "/tmp/sign.sh"), Bind(self.scratch / "in", "/tmp/in")]
            words = ["sh", "/tmp/sign.sh", self.key, "yes" if self.passphrase else "no"]
            lines = "".join(f"{request}\n" for request in requests).encode()
            result = run(signer(self.scratch / "out", "/tmp/out", words, binds=binds), stdin=lines, check=False)
        if result.code:
            raise signing_failure("sign.secret", self.key, result)

    def _verify(self, files: Sequence[Path], public: Path) -> None:
        """Verify the signatures, as a machine does that uses the packages."""
        manifest = self.scratch / gpkg.MANIFEST
        with keyring([public], [self.key]) as keys:
            for file in files:
                manifest.write_bytes(gpkg.manifest_of(file))
                package = gpkg.read(file, manifest=keys.clearsigned(manifest, file.name).text)
                for member in _signed_members(package):
                    signature = self._written(package, f"{member.name}{gpkg.SIGNATURE}")
                    keys.verify(signature, self._written(package, member.name), f"{member.name} of {file.name}")

    def _written(self, package: gpkg.BinaryPackage, name: str) -> Path:
        """Write a member of a package to a file, which replaces an earlier one."""
        (member,) = (one for one in package.members if one.name == name)
        path = self.scratch / ("signature" if name.endswith(gpkg.SIGNATURE) else "member")
        with path.open("wb") as stream:
            stream.writelines(package.chunks(member))
        return path


def signing_failure(setting: str, key: str, result: Result) -> StagewrightError:
    """Return the error for a script that signs in a sandbox. ``setting`` is the one that names the file of the key."""
    said = {_NO_KEY: f"the file holds no secret key {key}", _CANNOT_SIGN: "the key cannot sign"}
    hint = "write it with `gpg --armor --export-secret-keys FINGERPRINT`, and its passphrase to a file"
    message = f"{setting}: {said.get(result.code, 'gpg failed')}"
    return StagewrightError(Reason.INVALID_VALUE, message, detail=result.stderr, hint=hint)


def _signed_members(package: gpkg.BinaryPackage) -> list[gpkg.Member]:
    """Return the members of a package that get a signature: the two archives."""
    return [package.member("metadata"), package.member("image")]


def _signed_parts(package: gpkg.BinaryPackage, number: int, signatures: Path) -> list[gpkg.Part]:
    """Return the members of a signed package, without its Manifest."""
    parts = [gpkg.Part.of(gpkg.VERSION, b"")]
    for member in _signed_members(package):
        signature = (signatures / f"{number}.{member.name}").read_bytes()
        parts += [gpkg.Part.copy(package, member), gpkg.Part.of(f"{member.name}{gpkg.SIGNATURE}", signature)]
    return parts


def _manifest(package: gpkg.BinaryPackage, parts: Sequence[gpkg.Part]) -> bytes:
    """Return the Manifest of a signed package, not signed yet. Digests of members that stay were verified before."""
    lines = []
    for part in parts:
        known = {} if part.name.endswith(gpkg.SIGNATURE) else dict(package.digests[part.name])
        known.pop("size", None)
        lines.append(gpkg.record(part.name, part.size, known or gpkg.digests_of(part.chunks())))
    return "".join(lines).encode()
