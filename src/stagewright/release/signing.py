"""Signatures of releases, by GnuPG and minisign.

A secret key is read from a file, in a sandbox without network whose home is in memory (:func:`root.sandbox.signer`).
Without a file, the caller's own GnuPG signs, with its agent. Secret keys and passphrases are never copied to a
store, and no root sees them. Every new signature is verified with the public key before it is used.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.openpgp import keyring
from stagewright.graph.given import NotInKey
from stagewright.portage.sign_packages import signing_failure
from stagewright.project.fields import Matching, SecretPath, Section
from stagewright.project.model import Fingerprint
from stagewright.release import documents
from stagewright.root.sandbox import Bind, signer
from stagewright.run import Result, run

DETACHED, MINISIGNED = ".asc", ".minisig"
"""Suffixes of signatures: detached ones by OpenPGP, and those by minisign."""

FEED_SIGNED = ".gpg"
"""Suffix of the signature of a feed, which systemd-sysupdate requires."""

PUBLIC_KEY, MINISIGN_KEY = "signing-key.asc", "minisign.pub"
MINISIGN_PATTERN = r"RW[A-Za-z0-9+/]{53,54}=?"
"""Files with the public keys, next to the folders of versions."""

"""Exit codes of ``sign_release.sh``."""


class Secrets(Section):
    """Where the passphrase of a key comes from."""

    passphrase: Annotated[SecretPath | None, NotInKey()] = None
    """A file whose first line is the passphrase of the key."""
    passphrase_variable: Annotated[
        Annotated[str, Matching("[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")] | None, NotInKey()
    ] = None
    """The environment variable with the passphrase of the key, instead of a file."""

    def read_passphrase(self) -> bytes:
        """Return the passphrase; empty if there is none."""
        if self.passphrase_variable:
            return os.environ.get(self.passphrase_variable, "").encode()
        if self.passphrase:
            return Path(self.passphrase).expanduser().read_bytes().partition(b"\n")[0]
        return b""

    def needed_variables(self) -> list[str]:
        """Return the names of the environment variables that signing needs."""
        return [self.passphrase_variable] if self.passphrase_variable else []

    def missing_secrets(self, setting: str, files: Mapping[str, str | None]) -> Iterator[StagewrightError]:
        """Yield an error for each secret file or variable that this computer does not have."""
        for name, path in {**files, "passphrase": self.passphrase}.items():
            if path and not Path(path).expanduser().is_file():
                what = f"{setting}.{name}: file not found ({Path(path).expanduser()})"
                yield StagewrightError(Reason.MISSING_FILE, what, hint="build on a computer that has it")
        variable = self.passphrase_variable
        if variable and variable not in os.environ:
            what = f"{setting}.passphrase_variable: not set in the environment ({variable})"
            yield StagewrightError(Reason.INVALID_VALUE, what, hint=f"read -rs {variable}; export {variable}")


class OpenPgpSigning(Secrets):
    """A key for OpenPGP signatures."""

    key: Fingerprint
    """The fingerprint of the primary key."""
    secret: Annotated[SecretPath | None, NotInKey()] = None
    """The file with the secret key, as `gpg --export-secret-keys` writes it; default: your GnuPG, with its agent."""

    def needed_variables(self) -> list[str]:
        """Return the names of the environment variables that signing needs: also that of GnuPG's home."""
        return [*super().needed_variables(), *([] if self.secret else ["GNUPGHOME"])]

    def missing(self) -> Iterator[StagewrightError]:
        """Yield an error for each secret that this computer does not have."""
        yield from self.missing_secrets("sign.openpgp", {"secret": self.secret})
        if not self.secret and not self._own("--list-secret-keys", self.key).stdout:
            what = f"sign.openpgp.key: your GnuPG has no secret key {self.key}"
            hint = "gpg --import FILE, or set `secret` to the file of the key"
            yield StagewrightError(Reason.NO_KEYS, what, hint=hint)

    def sign(self, folder: Path, detached: Sequence[str], clear: Sequence[str], scratch: Path) -> None:
        """Sign files below a folder, and write the public key there.

        ``detached`` get a signature next to them; ``clear`` are replaced by clear-signed texts. ``scratch`` is a new
        folder. Raises: INVALID_VALUE or BUILD_FAILED if the key cannot sign.
        """
        inside, out = scratch / "in", scratch / "out"
        for place in (inside, out):
            place.mkdir(parents=True)
        requests = [("detach", name) for name in detached] + [("clear", name) for name in clear]
        for number, (_, name) in enumerate(requests):
            shutil.copyfile(folder / name, inside / str(number))
        words = [f"{how}:{number}" for number, (how, _) in enumerate(requests)]
        (self._sign_with_file if self.secret else self._sign_with_agent)(words, inside, out)
        for number, (how, name) in enumerate(requests):
            shutil.copyfile(out / str(number), folder / (name if how == "clear" else f"{name}{DETACHED}"))
        shutil.copyfile(out / "public", folder / PUBLIC_KEY)
        with keyring([folder / PUBLIC_KEY], [self.key]) as keys:
            for name in detached:
                keys.verify(folder / f"{name}{DETACHED}", folder / name)
            for name in clear:
                keys.clearsigned(folder / name)

    def _sign_with_file(self, requests: Sequence[str], inside: Path, out: Path) -> None:
        assert self.secret
        with resources.as_file(resources.files(documents) / "data" / "sign_release.sh") as script:
            secret = Bind(Path(self.secret).expanduser(), "/tmp/secret")
            binds = [secret, Bind(script, "/tmp/sign.sh"), Bind(inside, "/tmp/in")]
            words = signer(out, "/tmp/out", ["sh", "/tmp/sign.sh", self.key, *requests], binds=binds)
            result = run(words, stdin=self.read_passphrase(), check=False)
        if result.code:
            raise signing_failure("sign.openpgp.secret", self.key, result)

    def _sign_with_agent(self, requests: Sequence[str], inside: Path, out: Path) -> None:
        phrase = self.read_passphrase()
        given = ["--pinentry-mode", "loopback", "--passphrase-fd", "0"] if phrase else []
        for request in requests:
            how, _, name = request.partition(":")
            words = ["--armor", "--digest-algo", "SHA512", "--local-user", self.key, "--output", str(out / name)]
            result = self._own(*given, *words, f"--{how}-sign", str(inside / name), stdin=phrase)
            if result.code:
                what = f"your GnuPG could not sign with the key {self.key}"
                hint = f"try it, and unlock the key: echo x | gpg --local-user {self.key} --clear-sign"
                raise StagewrightError(Reason.BUILD_FAILED, what, detail=result.stderr.strip(), hint=hint)
        (out / "public").write_text(self._own("--armor", "--export", self.key).stdout, encoding="utf-8")

    @staticmethod
    def _own(*words: str, stdin: bytes | None = None) -> Result:
        """Run the caller's GnuPG."""
        env = {"GNUPGHOME": os.environ["GNUPGHOME"]} if "GNUPGHOME" in os.environ else {}
        return run(["gpg", "--batch", "--no-tty", "--quiet", *words], env=env, stdin=stdin, check=False)


class MinisignSigning(Secrets):
    """A key for signatures by minisign."""

    key: Annotated[str, Matching(MINISIGN_PATTERN, "the public key, as in the last line of minisign.pub")]
    """The public key: the last line of the file `minisign.pub`."""
    secret: Annotated[SecretPath, NotInKey()]
    """The file with the secret key."""

    def missing(self) -> Iterator[StagewrightError]:
        """Yield an error for each secret that this computer does not have."""
        yield from self.missing_secrets("sign.minisign", {"secret": self.secret})

    def sign(self, folder: Path, names: Sequence[str], comment: str, scratch: Path) -> None:
        """Sign files below a folder, and write the public key there. ``comment`` is signed too.

        Raises: INVALID_VALUE if the key cannot sign.
        """
        scratch.mkdir(parents=True)
        for name in names:
            binds = [Bind(Path(self.secret).expanduser(), "/tmp/secret"), Bind(folder / name, "/tmp/file")]
            words = ["minisign", "-S", "-s", "/tmp/secret", "-m", "/tmp/file", "-x", "/tmp/out/signature"]
            words += ["-c", "signature of a release by minisign", "-t", f"{comment} {name}"]
            phrase = self.read_passphrase() + b"\n"
            result = run(signer(scratch, "/tmp/out", words, binds=binds), stdin=phrase, check=False)
            if result.code:
                what, hint = "sign.minisign.secret: minisign cannot sign", "check the file and its passphrase"
                raise StagewrightError(Reason.INVALID_VALUE, what, detail=result.stderr.strip(), hint=hint)
            shutil.move(scratch / "signature", folder / f"{name}{MINISIGNED}")
            verify_minisign(self.key, folder / f"{name}{MINISIGNED}", folder / name)
        text = f"untrusted comment: public key of releases for minisign\n{self.key}\n"
        (folder / MINISIGN_KEY).write_text(text, encoding="utf-8")


class ReleaseSigning(Section):
    """Keys that sign a release."""

    openpgp: OpenPgpSigning | None = None
    """A key for OpenPGP signatures, which GnuPG makes."""
    minisign: MinisignSigning | None = None
    """A key for signatures by minisign."""

    def needed_variables(self) -> list[str]:
        """Return the names of the environment variables that signing needs."""
        return [name for one in (self.openpgp, self.minisign) if one for name in one.needed_variables()]

    def missing(self) -> Iterator[StagewrightError]:
        """Yield an error for each secret that this computer does not have."""
        for one in (self.openpgp, self.minisign):
            yield from one.missing() if one else ()

    def sign(self, folder: Path, detached: Sequence[str], pointer: str, comment: str, scratch: Path) -> None:
        """Sign the lists of digests, ``detached``, and the pointer, paths below a folder; see :func:`sign`."""
        if self.openpgp:
            self.openpgp.sign(folder, detached, [pointer], scratch / "openpgp")
        if self.minisign:
            self.minisign.sign(folder, [*detached, pointer], comment, scratch / "minisign")


def verify_minisign(key: str, signature: Path, file: Path, name: str = "") -> None:
    """Verify a signature by minisign. ``key`` is the public key itself; ``name`` is the file name in the error.

    Raises: UNKNOWN_SIGNER for another key, else BAD_SIGNATURE.
    """
    result = run(["minisign", "-V", "-q", "-P", key, "-x", signature, "-m", file], check=False)
    if result.code == 0:
        return
    said = (result.stderr + result.stdout).strip()
    name = name or file.name
    if "key id in" in said:
        raise StagewrightError(Reason.UNKNOWN_SIGNER, f"{name}: signed by minisign with an unknown key", detail=said)
    raise StagewrightError(Reason.BAD_SIGNATURE, f"{name}: signature by minisign does not match", detail=said)
