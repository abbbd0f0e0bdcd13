"""Channels: what they accept in an artifact, and what may be given to others."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.project.channels import Channel
from stagewright.release.bill import Bill, Component, Image, Unowned
from stagewright.release.channel import check_bill, check_distributable, rules_of
from stagewright.release.generated import is_generated
from stagewright.release.mark import marked_name, os_release

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


OWN = Unowned(image=Image.ROOT, origin="live", count=12, paths=tuple(f"/opt/{n:02}" for n in range(12)), maker="x")


def refused_files(files: Unowned, **channel: Any) -> list[StagewrightError]:
    rules = rules_of("stable", Channel(**channel), GROUPS)
    try:
        check_bill(rules, Bill(unowned=(files,)), "demo.iso")
    except ProblemsError as error:
        return error.problems
    return []


def test_files_without_owner_need_a_licence() -> None:
    (error,) = refused_files(OWN)
    assert error.reason is Reason.LICENCE_REFUSED
    assert "demo.iso: 12 files of live belong to no package (x)" in error.message and "stable" in error.message
    assert "in root: /opt/09" in error.detail and "/opt/10" not in error.detail and error.detail.endswith("...")
    assert 'unowned_license = { "live" = "..." }' in error.hint


@pytest.mark.parametrize("licenses", [{"live": "MIT"}, {"*": "GPL-2"}, {"other": "x", "*": "MIT"}])
def test_a_channel_can_name_their_licence(licenses: dict[str, str]) -> None:
    assert not refused_files(OWN, unowned_license=licenses)
    assert not refused_files(OWN.model_copy(update={"origin": "seed:live"}), unowned_license=licenses)


def test_their_licence_must_be_accepted() -> None:
    (error,) = refused_files(OWN, unowned_license={"live": "proprietary", "*": "MIT"})
    assert "their licence proprietary is not accepted" in error.message


def test_generated_files_and_private_channels_need_none() -> None:
    assert not refused_files(OWN.model_copy(update={"is_generated": True}))
    assert not refused_files(OWN, distributable=False)


@pytest.mark.parametrize(
    ("path", "generated"),
    [
        ("/etc/ld.so.cache", True),
        ("/lib/modules/6.1/modules.dep.bin", True),
        ("/usr/lib64/gconv/gconv-modules.cache", True),
        ("/usr/share/mime/packages.xml", True),
        ("/var/cache/fontconfig/x", True),
        ("/usr/lib/dracut/build-parameter.txt", True),
        ("/lib/modules/6.1/extra/vendor.ko", False),
        ("/usr/bin/blob", False),
        ("/opt/etc/x", False),
        ("/var/lib/vendor/blob", False),
        ("/usr/lib/systemd/systemd", False),
    ],
)
def test_which_files_programs_generate(path: str, generated: bool) -> None:
    assert is_generated(path) is generated


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


def test_the_programs_of_our_dracut_modules_need_no_owner() -> None:
    found = []
    for setup in (files("stagewright") / "media").glob("*/module-setup.sh"):
        text = setup.read_text(encoding="utf-8")
        found += re.findall(r'inst_(?:script|simple) "\$moddir/\S+" (/\S+)', text)
    own = {path for path in found if "dmsquash" not in path}
    assert len(own) > 2
    assert {path for path in own if not is_generated(f"/usr{path.removeprefix('/usr')}")} == set()
