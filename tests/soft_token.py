"""A real PKCS#11 token of SoftHSM2, for tests of signatures by keys that are on a token."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
SPY = next(Path("/usr/lib").glob("*/pkcs11-spy.so"), Path("/nowhere"))
ENGINE = next(Path("/usr/lib").glob("*/engines-3/pkcs11.so"), Path("/nowhere"))
PIN, WRONG = "27182818", "31415926"
VARIABLES = ("SOFTHSM2_CONF", "PKCS11SPY", "PKCS11SPY_OUTPUT")
NAME, LABEL = "media keys", "signer"
URI = "pkcs11:token=media%20keys;object=signer"


def lacking() -> str:
    """Return what these tests need and this machine does not have."""
    programs = [name for name in ("softhsm2-util", "openssl", "osslsigncode", "sbverify") if shutil.which(name) is None]
    return ", ".join([*programs, *(str(path) for path in (MODULE, SPY, ENGINE) if not path.exists())])


@dataclass(frozen=True)
class Token:
    """A folder with the configuration and the tokens of SoftHSM2."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf")}

    @property
    def calls(self) -> Path:
        """The log of all calls of the module, by pkcs11-spy."""
        return self.folder / "calls"

    def util(self, *words: str) -> None:
        environment = {**os.environ, **self.environment}
        subprocess.run(["softhsm2-util", *words], env=environment, check=True, capture_output=True)

    def initialize(self, pin: str = PIN) -> None:
        self.util("--init-token", "--free", "--label", NAME, "--so-pin", "00000000", "--pin", pin)

    def add(self, key: Path, label: str = LABEL, number: str = "a1") -> None:
        self.util("--import", str(key), "--token", NAME, "--label", label, "--id", number, "--pin", PIN)

    def logins(self) -> int:
        """Return how many logins there were since the last call of this method."""
        text = self.calls.read_text(encoding="utf-8", errors="replace") if self.calls.exists() else ""
        self.calls.unlink(missing_ok=True)
        return text.count(": C_Login\n")


@contextmanager
def soft_token() -> Iterator[Token]:
    """Make a token. Its folder is not in /tmp, which programs that sign do not see."""
    with tempfile.TemporaryDirectory(prefix="token-", dir="/var/tmp") as name:
        token = Token(Path(name))
        (token.folder / "tokens").mkdir()
        text = f"directories.tokendir = {name}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
        (token.folder / "softhsm2.conf").write_text(text, encoding="utf-8")
        token.initialize()
        yield token
