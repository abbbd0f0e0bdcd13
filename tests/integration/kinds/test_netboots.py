"""netboots: a machine starts from the network; a test that asks for what the set does not have is refused."""

from __future__ import annotations

import json

import pytest

from integration.sites import NetSite
from integration.support import build

pytestmark = pytest.mark.real


def test_a_program_that_the_set_lacks_is_reported(site: NetSite) -> None:
    run = build("pxe-pxelinux", cwd=site.project, store=site.store, check=False)
    assert run.reasons == {"test:pxe-pxelinux": "environment-lacks"}


def test_a_method_that_the_set_lacks_is_reported(site: NetSite) -> None:
    run = build("pxe-stream", cwd=site.project, store=site.store, check=False)
    assert run.reasons == {"test:pxe-stream": "environment-lacks"}


@pytest.mark.boot
def test_uefi_http_boot(site: NetSite) -> None:
    """The firmware loads boot.efi, which fetches the image once, both from the address in the set."""
    build("pxe-uefi", cwd=site.project, store=site.store)
    events = [
        json.loads(line)
        for line in (site.project / "out/pxe-uefi/requests.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    served = {event["path"]: event["size"] for event in events if event["event"] == "FileServed" and event["complete"]}
    assert {"/live/boot.efi", "/live/image.squashfs"} <= set(served)
    assert served["/live/image.squashfs"] == (site.set / "image.squashfs").stat().st_size
