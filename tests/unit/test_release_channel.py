"""Channels: what they accept in an artifact, and what may be given to others."""

from __future__ import annotations

from typing import Any

import pytest

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.project.channels import Channel
from stagewright.release.bill import Bill, Component, Image
from stagewright.release.channel import check_bill, check_distributable, marked_name, os_release, rules_of

GROUPS = {"FREE": ("GPL-2", "MIT", "debian-main"), "BINARY-REDISTRIBUTABLE": ("@FREE", "linux-fw")}


def component(name: str, license_text: str, *images: Image, **more: Any) -> Component:
    why = {image: f"the reason for {image}" for image in images or (Image.ROOT,)}
    given = {"kind": "ebuild", "images": images or (Image.ROOT,), "why": why, "license": license_text, **more}
    return Component.model_validate({"name": name, "version": "1", **given})


def refused(components: list[Component], **channel: Any) -> list[StagewrightError]:
    rules = rules_of("stable", Channel(**channel), GROUPS)
    try:
        check_bill(rules, Bill(components=tuple(components)), "demo.iso")
    except ProblemsError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    "accepted",
    [
        component("app-misc/a", "GPL-2"),
        component("app-misc/a", "|| ( GPL-2 proprietary )"),
        component("virtual/a", ""),
        component("acct-user/a", ""),
        component("hello", "debian-main", kind="deb"),
        component("app-misc/a", "GPL-2", restrict=("test", "strip")),
    ],
)
def test_free_packages_are_accepted(accepted: Component) -> None:
    assert not refused([accepted])


@pytest.mark.parametrize(
    ("package", "words"),
    [
        (component("sys-kernel/fw", "linux-fw", Image.FIRMWARE), "linux-fw"),
        (component("app-misc/a", "|| ( other proprietary )"), "proprietary"),
        (component("app-misc/a", ""), "does not name a licence"),
        (component("firmware-x", "debian-non-free-firmware", kind="deb"), "debian-non-free-firmware"),
        (component("app-misc/a", "GPL-2", restrict=("bindist",)), "RESTRICT=bindist"),
        (component("app-misc/a", "GPL-2", restrict=("fetch",)), "RESTRICT=fetch"),
        (component("app-misc/a", "GPL-2", restrict=("mirror",)), "RESTRICT=mirror"),
    ],
)
def test_a_refusal_names_package_licence_image_and_reason(package: Component, words: str) -> None:
    found = refused([component("app-misc/good", "MIT"), package])
    assert [error.reason for error in found] == [Reason.LICENCE_REFUSED]
    assert str(package) in found[0].message
    assert words in found[0].message
    assert f"in {package.images[0]}: the reason for {package.images[0]}" in found[0].detail


def test_all_refusals_are_reported_together() -> None:
    packages = [component("a/a", "x"), component("a/b", "GPL-2"), component("a/c", "y", restrict=("bindist",))]
    assert len(refused(packages)) == 3


def test_a_channel_can_accept_more() -> None:
    firmware = component("sys-kernel/fw", "linux-fw", Image.FIRMWARE, restrict=("mirror",))
    more = {"accept_license": ["@BINARY-REDISTRIBUTABLE"], "accept_restrict": ["mirror"]}
    assert not refused([firmware], **more)
    assert refused([firmware], accept_license=["*", "-linux-fw"], accept_restrict=["mirror"])


def test_a_private_channel_accepts_everything_and_is_marked() -> None:
    assert not refused([component("a/a", "x", restrict=("bindist",)), component("a/b", "")], distributable=False)
    private = rules_of("private", Channel(distributable=False), {})
    public = rules_of("stable", Channel(), GROUPS)
    assert (public.file_mark, private.file_mark) == ("", "-not-distributable")
    assert os_release("private") == {"STAGEWRIGHT_CHANNEL": "private (not-distributable)"}


@pytest.mark.parametrize(
    ("name", "marked"),
    [
        ("demo-1.0.iso", "demo-1.0-not-distributable.iso"),
        ("demo-1.0.tar.zst", "demo-1.0-not-distributable.tar.zst"),
        ("demo-1.0", "demo-1.0-not-distributable"),
    ],
)
def test_names_have_a_mark_before_the_suffix(name: str, marked: str) -> None:
    assert marked_name(name) == marked


@pytest.mark.parametrize("channel", [{"name": "c", "distributable": False}, {"name": "c"}, {"distributable": "no"}])
def test_what_others_must_not_get_is_refused(channel: dict[str, Any]) -> None:
    with pytest.raises(StagewrightError) as caught:
        check_distributable({"channel": channel}, "demo-1")
    assert caught.value.reason is Reason.NOT_DISTRIBUTABLE


def test_what_others_may_get_passes() -> None:
    check_distributable({"channel": rules_of("stable", Channel(), GROUPS).to_dict()}, "demo-1")
    check_distributable({}, "demo-1")
