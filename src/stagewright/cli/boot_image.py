"""The image of ``stagewright boot``: the result of a stage, a file, or a folder, which is checked before a start."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

import click

from stagewright.arch import Arch, host_machine
from stagewright.cli.common import session_of
from stagewright.engine.outputs import FOLDER
from stagewright.engine.session import Session
from stagewright.errors import Reason, StagewrightError
from stagewright.graph.node import Yields
from stagewright.kinds.common.artifact import OutputKind
from stagewright.kinds.common.base import Scope
from stagewright.kinds.tests.boots import image_of
from stagewright.media.inspect import arches_of
from stagewright.ui.actions import action, bootable
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
        target, path = _image_of(session, name)
        found = BootImage(path.absolute(), Arch(Scope(session.project).arch(target)))
    if not found.is_set and not found.is_iso:
        check_disk(found.path)
    return found


def _image_of(session: Session, word: str) -> tuple[str, Path]:
    """Return the name of the stage that a word names, and its image or set.

    Raises: NOT_BUILT. USAGE if its result is neither an image nor a set for network boot.
    """
    entries = session.project.entries
    (target,) = session.check([word], keys=False)[:1]
    entry = entries["stages"].get(target)
    if entry and getattr(entry.model, "yields", None) is not Yields.LAYER:
        try:
            result = session.result(target)
        except StagewrightError as error:
            raise _with_older_image(error, session, target) from error
        if (result / "boot.ipxe").exists():
            return target, result
        with contextlib.suppress(StagewrightError):
            return target, image_of(result)
    known = bootable(session.project)
    what = "a root" if entry and action(entry).startswith("stagewright shell") else "not an image"
    hint = f"bootable here: {', '.join(known)}" if known else "add a stage of kind livecd-stage3 or diskimage-stage2"
    raise StagewrightError(Reason.USAGE, f"{target}: {what}, which no machine starts", hint=hint)


def _with_older_image(error: StagewrightError, session: Session, target: str) -> StagewrightError:
    """Return the error about a result that is not in this store, with the image that another build left in ``out``.

    That build had other settings, or its store belongs to another user.
    """
    node = session.graph.nodes[session.graph.targets[target][-1]]
    kind = node.settings
    if error.reason is not Reason.NOT_BUILT or not isinstance(kind, OutputKind):
        return error
    path = session.project.folder / FOLDER / kind.output_name(node, target)
    if not (path.is_file() and path.suffix in SUFFIXES) and not (path / "boot").is_dir():
        return error
    hint = f"{error.hint}; stagewright boot {path} starts the result of an earlier build, or of another user"
    return StagewrightError(error.reason, error.message, hint=hint)


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
