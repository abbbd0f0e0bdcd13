"""Checks of a layout as a whole: what a disk image can have, and what its programs can make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from stagewright.arch import Machine
from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.media.disk.definitions import Definition
from stagewright.media.disk.filesystem_types import FileSystem
from stagewright.media.disk.partition_types import NATIVE, guid_of, is_supported
from stagewright.media.disk.setting_values import Encryption, Verity


def check_layout(definitions: Sequence[Definition], *, repart: bool = False) -> None:
    """Check that the definitions make a disk that starts. Raises: INVALID_VALUE with all errors.

    ``repart`` is True if systemd-repart makes the partitions.
    """
    problems = [*_whole(definitions), *(problem for one in definitions for problem in _single(one))]
    problems += (problem for one in definitions for problem in (_by_repart if repart else _by_us)(one))
    problems += _verity(definitions)
    if problems:
        raise ProblemsError(problems)


def check_machine(definitions: Sequence[Definition], machine: Machine) -> None:
    """Check that a machine's firmware finds the root. Raises: ENVIRONMENT_LACKS, or INVALID_VALUE with a place."""
    if not is_supported(machine):
        message = f"disk images for {machine.arch} are not supported: the specification has no partition types for it"
        raise StagewrightError(Reason.ENVIRONMENT_LACKS, message, hint="use a root of another architecture")
    native = {guid_of(name, machine) for name in NATIVE}
    for one in definitions:
        if one.role in NATIVE and guid_of(one.type, machine) not in native:
            hint = f"write Type={one.role}, which fits every architecture"
            raise _error(one, f"Type={one.type} is for another architecture than the root ({machine.qemu})", hint)


def _error(one: Definition, message: str, hint: str) -> StagewrightError:
    return StagewrightError(Reason.INVALID_VALUE, f"{one.place.file.name}: {message}", place=one.place, hint=hint)


def _whole(definitions: Sequence[Definition]) -> Iterator[StagewrightError]:
    first = definitions[0]
    roots = [one for one in definitions if one.is_root]
    systems = [one for one in definitions if one.is_esp]
    if len(roots) != 1:
        hint = "write Type=root, a Format= and CopyFiles=/ in exactly one file"
        yield _error((roots or [first])[-1], f"{len(roots)} partitions have the files of the root", hint)
    if len(systems) != 1:
        hint = "write Type=esp and Format=vfat in exactly one file"
        yield _error((systems or [first])[-1], f"{len(systems)} EFI system partitions", hint)
    for what, places in (
        ("are mounted at the same place", [one.mount.path for one in definitions if one.mount]),
        ("have the same UUID", [one.uuid for one in definitions if one.uuid]),
    ):
        for value, number in Counter(places).items():
            if number > 1:
                other = [one for one in definitions if value in (one.uuid, one.mount and one.mount.path)][-1]
                yield _error(other, f"{number} partitions {what} ({value})", "change one of them")


def _single(one: Definition) -> Iterator[StagewrightError]:
    if one.size_max is not None and (one.size_min or 0) > one.size_max:
        yield _error(one, "SizeMinBytes is larger than SizeMaxBytes", "exchange them")
    if one.is_esp and one.format is not FileSystem.VFAT:
        yield _error(one, "an EFI system partition needs Format=vfat", "write Format=vfat")
    if not one.is_esp and one.format is FileSystem.VFAT:
        yield _error(one, "Format=vfat keeps neither owners nor modes", "use it for Type=esp only")
    filled = one.copy_files or one.make_directories or one.subvolumes
    if filled and (one.format is None or one.format is FileSystem.SWAP):
        yield _error(one, "files need a file system", "write a Format= such as ext4")
    if one.exclude_files and not one.copy_files:
        yield _error(one, "ExcludeFiles= without CopyFiles=", "remove it")
    if one.is_fixed and one.grow:
        yield _error(one, "a partition that cannot be written to does not grow", "remove GrowFileSystem=")


def _by_us(one: Definition) -> Iterator[StagewrightError]:
    """Yield what only systemd-repart can make."""
    hint = "name a root with systemd-repart in the setting `repart`"
    if len(one.copy_files) > 1 or any(copy.target != "/" for copy in one.copy_files):
        yield _error(one, "a partition has the files of one folder only", f"write CopyFiles=FOLDER:/ once, or {hint}")
    if one.subvolumes:
        yield _error(
            one, "Subvolumes= is not supported by mkfs.btrfs of Debian 12", f"write MakeDirectories=, or {hint}"
        )
    if one.is_encrypted:
        yield _error(one, "an encrypted partition needs systemd-repart", f"remove Encrypt=, or {hint}")


def _by_repart(one: Definition) -> Iterator[StagewrightError]:
    """Yield what systemd-repart cannot make without a device."""
    if one.subvolumes and one.format is not FileSystem.BTRFS:
        yield _error(one, "Subvolumes= is for btrfs", "write Format=btrfs, or MakeDirectories=")
    if not one.is_encrypted:
        return
    if one.is_esp or one.is_bios_boot:
        yield _error(one, "firmware cannot read an encrypted partition", "remove Encrypt=")
    if one.verity is not Verity.OFF:
        yield _error(one, "Encrypt= and Verity= exclude each other here", "remove one of them")
    if one.encrypt is not Encryption.KEY_FILE:
        hint = "write Encrypt=key-file; systemd-cryptenroll(1) adds the TPM on the machine"
        yield _error(one, f"Encrypt={one.encrypt} needs the TPM of the machine", hint)


def _verity(definitions: Sequence[Definition]) -> Iterator[StagewrightError]:
    pairs: dict[str, dict[Verity, Definition]] = {}
    for one in definitions:
        if one.verity is Verity.OFF:
            if one.verity_match_key:
                yield _error(one, "VerityMatchKey= without Verity=", "write Verity=data or Verity=hash")
            continue
        if not one.verity_match_key:
            yield _error(one, "Verity= needs a VerityMatchKey=", "write the same name in data and hash")
            continue
        pair = pairs.setdefault(one.verity_match_key, {})
        if one.verity in pair:
            yield _error(one, f"VerityMatchKey={one.verity_match_key} has two of {one.verity}", "use another name")
        pair[one.verity] = one
        if one.uuid:
            yield _error(one, "the UUID of a partition with Verity= comes from the root hash", "remove UUID=")
    for key, pair in pairs.items():
        if len(pair) == 1:
            (kind, one), *_ = pair.items()
            other = Verity.HASH if kind is Verity.DATA else Verity.DATA
            yield _error(
                one, f"VerityMatchKey={key} has no partition with Verity={other}", f"add one, or remove {kind}"
            )
        elif not (data := pair[Verity.DATA]).copy_files or not data.format or not data.format.is_read_only:
            yield _error(data, "Verity=data needs files and Format=erofs or squashfs", "write Format=erofs")
