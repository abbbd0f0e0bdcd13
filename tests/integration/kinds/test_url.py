"""url: a tarball on the web, by its digest or by its signature; tampered with, it is refused and not kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from integration.gentoo_mirror import AUTOBUILDS, STAMP
from integration.seed_world import GOOD, NAME, PAGE, SeedBench, Tamper, put
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
