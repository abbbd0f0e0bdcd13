"""url: a tarball on the web, by its digest or by its signature; tampered with, it is refused and not kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.gentoo_mirror import AUTOBUILDS, STAMP
from integration.processes import eventually
from integration.seed_world import GOOD, NAME, PAGE, SeedBench, Tamper, put
from integration.support import MINUTES, build, command, write_project
from stagewright.errors import Reason, StagewrightError

pytestmark = pytest.mark.real


def url_table(more: str, path: str = f"{AUTOBUILDS}/{STAMP}/{NAME}") -> Callable[[SeedBench], str]:
    return lambda bench: f'[seeds.it]\nurl = "{bench.mirror.site.url}/{path}"\n{more}'.replace(
        "KEY", bench.world.good.fingerprint
    ).replace("SITE", bench.mirror.site.url)


SIGNED = f'keys = ["KEY"]\nkeyring = "keys.asc"\nsignature = "SITE/{AUTOBUILDS}/{STAMP}/{NAME}.asc"\n'

URL: dict[str, tuple[Callable[[SeedBench], str], Tamper, Reason]] = {
    "another sha256": (url_table(f'sha256 = "{"0" * 64}"'), lambda _: None, Reason.DIGEST_MISMATCH),
    "another sha512": (url_table(f'sha512 = "{"0" * 128}"'), lambda _: None, Reason.DIGEST_MISMATCH),
    "altered": (
        url_table(f'sha256 = "{hashlib.sha256(GOOD).hexdigest()}"'),
        put("", lambda _: GOOD[:-1] + b"!"),
        Reason.DIGEST_MISMATCH,
    ),
    "altered and signed before": (url_table(SIGNED), put("", lambda _: GOOD[:-1] + b"!"), Reason.BAD_SIGNATURE),
    "signed by another key": (
        url_table(SIGNED),
        put(".asc", lambda b: b.world.signer("other").detached(GOOD)),
        Reason.UNKNOWN_SIGNER,
    ),
    "not signed": (url_table(SIGNED), put(".asc", lambda _: b"nothing\n"), Reason.NO_SIGNATURE),
    "a page": (url_table(f'sha256 = "{"0" * 64}"'), put("", lambda _: PAGE), Reason.NOT_A_FILE),
}


@pytest.mark.parametrize("case", URL)
def test_a_file_that_was_tampered_with_is_refused(bench: SeedBench, case: str) -> None:
    table, tamper, reason = URL[case]
    tamper(bench)
    with pytest.raises(StagewrightError) as caught:
        bench.seed(table(bench))
    assert caught.value.reason is reason, caught.value
    assert bench.kept() == []


def test_a_signed_file_is_accepted(bench: SeedBench) -> None:
    built = bench.seed(url_table(SIGNED)(bench))
    assert (built.tree / "usr/noise").stat().st_size == 300_000
    assert len(bench.kept()) == 1


def test_a_build_that_is_killed_while_it_verifies_leaves_nothing(bench: SeedBench, tmp_path: Path) -> None:
    """The keyring is in the work folder of the worker, which the next build removes."""
    project = write_project(bench.project, url_table(SIGNED)(bench))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    temporary.chmod(0o1777)
    keyring = project / "keys.asc"
    keys = keyring.read_bytes()
    keyring.write_bytes(keys * 1000)  # gpg reads for seconds
    words = command("build", "it", cwd=project, store=bench.store)
    env = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        made = eventually(lambda: any(bench.store.glob("work/*/stagewright-gnupg-*")), 5 * MINUTES)
        process.kill()
    keyring.write_bytes(keys)
    assert made
    assert list(temporary.iterdir()) == []
    assert build("it", cwd=project, store=bench.store).built() == {"seed:it"}
    assert list((bench.store / "work").iterdir()) == []
