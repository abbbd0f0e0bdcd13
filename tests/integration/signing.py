"""OpenPGP keys made for a test, and signatures by them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Signer:
    """A key pair in its own home of gpg."""

    home: Path
    fingerprint: str
    passphrase: str = ""

    @classmethod
    def make(
        cls,
        home: Path,
        name: str = "Release <release@example.org>",
        *,
        expires: str = "never",
        at: str = "",
        passphrase: str = "",
    ) -> Signer:
        """Make a key. ``at`` is its creation time (ISO 8601 without separators), for expired keys."""
        home.mkdir(mode=0o700, parents=True)
        made = cls(home, "", passphrase)
        made.gpg("--quick-gen-key", name, "ed25519", "sign", expires, at=at)
        listing = made.gpg("--with-colons", "--list-keys").decode()
        (fingerprint,) = [line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:")]
        return cls(home, fingerprint, passphrase)

    def gpg(self, *words: str | Path, at: str = "", stdin: bytes = b"") -> bytes:
        clock = ["--faked-system-time", f"{at}!"] if at else []
        options = ["--batch", "--yes", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", self.passphrase]
        command = ["gpg", "--homedir", str(self.home), *options, *clock, *map(str, words)]
        done = subprocess.run(command, input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def public(self, path: Path) -> Path:
        """Write the public key to a file."""
        path.write_bytes(self.gpg("--armor", "--export", self.fingerprint))
        return path

    def secret(self) -> bytes:
        """Return the secret key."""
        return self.gpg("--armor", "--export-secret-keys", self.fingerprint)

    def clearsign(self, text: bytes, *options: str, at: str = "") -> bytes:
        return self.gpg(*options, "--clearsign", at=at, stdin=text)

    def detached(self, content: bytes, *options: str, at: str = "") -> bytes:
        return self.gpg(*options, "--armor", "--detach-sign", at=at, stdin=content)

    def revoke(self) -> None:
        """Revoke the key with the certificate that gpg made for it."""
        certificate = self.home / "openpgp-revocs.d" / f"{self.fingerprint}.rev"
        text = certificate.read_text(encoding="utf-8").replace(":-----BEGIN", "-----BEGIN")
        self.gpg("--import", stdin=text.encode())

    def close(self) -> None:
        """Stop the gpg agent of this home."""
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False)


@dataclass(frozen=True)
class Minisigner:
    """A key pair of minisign: the public key, and the file with the secret one, without a passphrase."""

    key: str
    secret: Path

    @classmethod
    def make(cls, folder: Path) -> Minisigner:
        folder.mkdir()
        words = ["minisign", "-G", "-W", "-p", str(folder / "public"), "-s", str(folder / "secret")]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return cls((folder / "public").read_text(encoding="utf-8").split("\n")[1], folder / "secret")

    def sign(self, file: Path) -> Path:
        """Write a signature next to a file, and return its path."""
        words = ["minisign", "-S", "-s", str(self.secret), "-m", str(file), "-t", "test"]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return file.with_name(f"{file.name}.minisig")
