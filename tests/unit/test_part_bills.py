"""Bills of the parts of payloads and network kernels, by the records that their builds keep."""

from __future__ import annotations

from typing import Any

from stagewright.kinds.common.parts import Part, PartRecords
from stagewright.kinds.common.records import Records
from stagewright.kinds.releases.part_bills import OVERLAY, part_bills
from stagewright.release.bill import Bill
from stagewright.release.owners import PackageRecord

DRACUT = "/usr/lib/dracut/modules.d/99base/dracut-lib.sh"
INSTALLED = [
    PackageRecord("ebuild", "sys-kernel/k-6.1", {"LICENSE": "GPL-2"}, paths=("/usr/src/linux-6.1/Makefile",)),
    PackageRecord("ebuild", "sys-kernel/genkernel-4", {"LICENSE": "GPL-2"}),
    PackageRecord("ebuild", "sys-kernel/dracut-1", {"LICENSE": "GPL-2"}, paths=(DRACUT,)),
    PackageRecord("ebuild", "sys-kernel/bin-6.1", {"LICENSE": "GPL-2"}, paths=("/usr/lib/modules/6.1/a.ko",)),
    PackageRecord("ebuild", "sys-apps/x-1", {"LICENSE": "MIT"}, paths=("/usr/bin/x",)),
]


def bills(*parts: Part) -> dict[str, Bill]:
    return part_bills(PartRecords(Records(), INSTALLED, parts), "boot")


def names(bill: Bill) -> set[str]:
    return {one.name.rpartition("/")[2] for one in bill.components}


def initramfs(*paths: str, **more: Any) -> Bill:
    part = Part("initramfs-one", "initramfs", paths, **{"kernel": "one", "by": "dracut", **more})
    return bills(part)["initramfs-one"]


def test_a_compiled_kernel_belongs_to_its_sources() -> None:
    sources = "/usr/src/linux-6.1/Makefile"
    found = bills(
        Part("kernel-one", "kernel", ["/boot/vmlinuz-6.1"], "one", sources),
        Part("modules", "modules", ["/usr/lib/modules/6.1/b.ko", "/usr/lib/modules/6.1/modules.dep"], "one", sources),
    )
    assert names(found["kernel-one"]) == names(found["modules"]) == {"k"}
    (generated,) = found["modules"].unowned
    assert (generated.is_generated, generated.origin, generated.maker) == (True, "boot", "depmod, for kernel one")


def test_an_image_that_installkernel_copied_belongs_to_the_package_of_its_modules() -> None:
    found = bills(
        Part("kernel-one", "kernel", ["/boot/vmlinuz-6.1"], "one"),
        Part("modules", "modules", ["/usr/lib/modules/6.1/a.ko"], "one"),
    )
    assert names(found["kernel-one"]) == {"bin"}


def test_a_kernel_from_a_tree_of_the_project_has_no_owner() -> None:
    found = bills(Part("kernel-one", "kernel", ["/boot/vmlinuz-6.1"], "one", "/usr/src/own/Makefile"))
    assert names(found["kernel-one"]) == set() and not found["kernel-one"].unowned[0].is_generated


def test_scripts_of_dracut_belong_to_dracut() -> None:
    bill = initramfs("/usr/bin/x", "/usr/lib/dracut-lib.sh", made=["/usr/lib/dracut-lib.sh"])
    assert names(bill) == {"x", "dracut"} and not bill.unowned


def test_a_file_of_the_root_without_owner_does_not_belong_to_the_maker() -> None:
    """Something else has put it into the root, whatever its name is."""
    for by in ("dracut", "genkernel"):
        bill = initramfs("/opt/dracut-lib.sh", by=by)
        assert names(bill) == set() and [one.paths for one in bill.unowned] == [("/opt/dracut-lib.sh",)]


def test_what_genkernel_makes_belongs_to_genkernel() -> None:
    assert names(initramfs("/bin/busybox", by="genkernel", made=["/bin/busybox"])) == {"genkernel"}


def test_files_of_the_project_are_listed() -> None:
    bill = initramfs("/usr/bin/x", own=["/usr/bin/x"])
    assert names(bill) == set() and [(one.maker, one.paths) for one in bill.unowned] == [(OVERLAY, ("/usr/bin/x",))]


def test_microcode_has_its_own_sources() -> None:
    path = "/kernel/x86/microcode/AuthenticAMD.bin"
    assert not initramfs(path).unowned[0].is_generated
    part = Part("initramfs-one", "initramfs", [path], "one", by="dracut")
    codes = Part("initramfs-one", "microcode", ["/usr/bin/x"], "one")
    found = bills(part, codes)["initramfs-one"]
    assert names(found) == {"x"} and not found.unowned
