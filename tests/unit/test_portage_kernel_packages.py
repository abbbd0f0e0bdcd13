"""Kernel packages in builds with ROOT set are known before the build."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.portage.kernel_packages import kernel_notes
from stagewright.portage.repositories import Repository

KERNEL = "sys-kernel/farm-kernel"


@pytest.mark.parametrize(
    ("use", "lines", "noted"),
    [
        ([], "", True),
        (["-initramfs"], "", False),
        (["initramfs"], "", True),
        ([], f">={KERNEL}-6 generic-uki # signed", False),
        ([], "sys-kernel/other -initramfs", True),
        ([], "*/* -initramfs", False),
    ],
)
def test_a_kernel_with_an_initramfs_is_noted(tmp_path: Path, use: list[str], lines: str, noted: bool) -> None:
    for name, text in ((KERNEL, "EAPI=8\ninherit kernel-build\n"), ("sys-kernel/headers", "inherit toolchain-funcs\n")):
        (tmp_path / "repo" / name).mkdir(parents=True)
        (tmp_path / "repo" / name / "x-1.ebuild").write_text(text, encoding="utf-8")
    (tmp_path / "mine/package.use").mkdir(parents=True)
    (tmp_path / "mine/package.use/kernel").write_text(lines, encoding="utf-8")
    packages = [KERNEL, KERNEL, "sys-kernel/headers", "app-misc/hello", "sys-kernel/missing"]
    notes = list(kernel_notes(packages, [Repository("farm", tmp_path / "repo")], use, [tmp_path / "mine"]))
    assert len(notes) == noted
    assert all(KERNEL in note and "-initramfs" in note for note in notes)
