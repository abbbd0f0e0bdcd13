"""boots: machines start images by BIOS and with Secure Boot; firmware that must refuse an image refuses it."""

from __future__ import annotations

import pytest

from integration.sites import Media
from integration.support import build

pytestmark = pytest.mark.real


@pytest.mark.boot
def test_bios_starts_the_hybrid_and_its_initramfs_checks_it(media: Media) -> None:
    build("hybrid-bios", cwd=media.project, store=media.store)


@pytest.mark.boot
def test_secure_firmware_starts_signed_images_alone(media: Media) -> None:
    build("uki-secure", "refused", cwd=media.project, store=media.store)
    console = (media.project / "out/refused/console.log").read_text(errors="replace", encoding="utf-8")
    assert "Linux version" not in console
