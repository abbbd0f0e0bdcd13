"""The image of ``stagewright boot``: the result of a stage, a file, or a folder, which is checked before a start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from stagewright.arch import Arch, host_machine
from stagewright.cli.common import session_of
from stagewright.engine.session import Session
from stagewright.errors import Reason, StagewrightError
from stagewright.kinds.common.base import Scope
from stagewright.kinds.tests.boots import image_of
from stagewright.media.inspect import arches_of
from stagewright.vm.disks import check_disk

SUFFIXES = (".iso", ".img", ".qcow2", ".raw")


@dataclass(frozen=True)
class BootImage:
    """An ISO, a disk image, or the folder of a network set. ``arch`` is that of the stage, or of this computer."""

    path: Path
    arch: Arch

    @property
    def is_iso(self) -> bool:
        """True if it is an ISO."""
        return self.path.suffix == ".iso"

    @property
    def is_set(self) -> bool:
        """True if it is the folder of a network set."""
        return self.path.is_dir()


def boot_image(ctx: click.Context, name: str) -> BootImage:
    """Return the image that a word of the command line names: a stage, a file, or the folder of a network set.

    Raises: MISSING_FILE for a path that does not exist, BAD_ARCHIVE for a file that no machine starts.
    """
    path = Path(name)
    if path.is_file() or (path / "boot").is_dir():
        found = BootImage(path.absolute(), host_machine().arch)
    elif path.exists() and ("/" in name or not path.is_dir()):
        hint = "name an ISO, a disk image, or the folder of a network set"
        raise StagewrightError(Reason.BAD_ARCHIVE, f"{name}: neither a file nor the folder of a network set", hint=hint)
    elif "/" in name or path.suffix in SUFFIXES:
        raise StagewrightError(Reason.MISSING_FILE, f"{name}: not found", hint="correct the path, or name a stage")
    else:
        session = _session(ctx, name)
        result = session.result(name)
        path = result if (result / "boot.ipxe").exists() else image_of(result)
        found = BootImage(path.absolute(), Arch(Scope(session.project).arch(name)))
    if not found.is_set and not found.is_iso:
        check_disk(found.path)
    return found


def _session(ctx: click.Context, name: str) -> Session:
    """Open the project. Raises ``MISSING_FILE`` for a name without a project, which can be that of a file, too."""
    try:
        return session_of(ctx, reads_only=True)
    except StagewrightError as error:
        if error.reason is not Reason.NO_PROJECT:
            raise
        what = f"{name}: neither a file, nor a stage, because there is no project here"
        raise StagewrightError(Reason.MISSING_FILE, what, hint="correct the path, or name a project with -C") from error


def arch_of(image: BootImage, work: Path) -> Arch:
    """Return an architecture that an ISO has boot programs for; that of the image if it is one of these."""
    if not image.is_iso:
        return image.arch
    work.mkdir()
    found = arches_of(image.path, work)
    known = [arch for arch in Arch if arch in found]
    return image.arch if image.arch in known or not known else known[0]
