"""Layouts of disks: folders of partition definitions in the format of repart.d(5), one file a partition.

Stagewright reads a part of that format; see :data:`_KEYS`. It refuses other settings, since an image without what they
ask for would be a wrong image. A definition has the name of its file without number and suffix: ``20-root.conf`` is
``root``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from stagewright.errors import Place, ProblemsError, Reason, StagewrightError, nearest
from stagewright.media.disk import setting_values as values
from stagewright.media.disk.filesystem_types import FileSystem
from stagewright.media.disk.partition_types import BIOS_BOOT, role_of
from stagewright.media.disk.setting_values import Copy, Encryption, Mount, Verity

SUFFIX = ".conf"
_LARGEST = 1 << 16  # bytes of one file
_MOST = 100  # partitions of one table

_KEYS = {
    "Type": ("type", values.partition_type),
    "Label": ("label", values.label),
    "UUID": ("uuid", values.uuid),
    "Priority": ("priority", values.priority),
    "Weight": ("weight", values.weight),
    "SizeMinBytes": ("size_min", values.size),
    "SizeMaxBytes": ("size_max", values.size),
    "Format": ("format", values.file_system),
    "CopyFiles": ("copy_files", values.copy),
    "ExcludeFiles": ("exclude_files", values.path),
    "MakeDirectories": ("make_directories", values.paths),
    "Subvolumes": ("subvolumes", values.paths),
    "Encrypt": ("encrypt", values.encryption),
    "Verity": ("verity", values.verity),
    "VerityMatchKey": ("verity_match_key", values.word),
    "Minimize": ("minimize", values.minimize),
    "GrowFileSystem": ("grow", values.boolean),
    "ReadOnly": ("read_only", values.boolean),
    "NoAuto": ("no_auto", values.boolean),
    "MountPoint": ("mount_points", values.mount),
}
"""Settings of the section [Partition]: the field of :class:`Definition`, and the function that reads a value."""

_LISTS = {"copy_files", "exclude_files", "make_directories", "subvolumes", "mount_points"}
"""Fields that a setting adds to, each time that it is set. The function yields the items of one value, or one item."""

_OF_REPART = (
    *("CopyBlocks", "DefaultSubvolume", "EncryptedVolume", "FactoryReset", "Flags", "PaddingMinBytes"),
    *("PaddingMaxBytes", "PaddingWeight", "SplitName", "SupplementFor", "TPM2PCRs", "Compression", "CompressionLevel"),
    *("VerityDataBlockSizeBytes", "VerityHashBlockSizeBytes", "ExcludeFilesTarget", "AddValidateFS", "KeyFile"),
)
"""Settings that systemd-repart knows and Stagewright does not."""


class Definition(BaseModel):
    """One partition. Sizes are in bytes; ``size_max`` is None without a limit. ``place`` is the file's first line."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    name: str
    place: Place
    type: str
    label: str | None = None
    uuid: str | None = None
    priority: int = 0
    weight: int = 1000
    size_min: int | None = None
    size_max: int | None = None
    format: FileSystem | None = None
    copy_files: tuple[Copy, ...] = ()
    exclude_files: tuple[str, ...] = ()
    make_directories: tuple[str, ...] = ()
    subvolumes: tuple[str, ...] = ()
    encrypt: Encryption = Encryption.OFF
    verity: Verity = Verity.OFF
    verity_match_key: str | None = None
    minimize: bool = False
    grow: bool | None = None
    read_only: bool | None = None
    no_auto: bool = False
    mount_points: tuple[Mount, ...] = Field(default=())

    @property
    def role(self) -> str:
        """Name of the type without its architecture, such as ``root``, or a GUID."""
        return role_of(self.type)

    @property
    def is_esp(self) -> bool:
        """True for the EFI system partition."""
        return self.role == "esp"

    @property
    def is_bios_boot(self) -> bool:
        """True for the partition of GRUB for BIOS."""
        return self.type.lower() == BIOS_BOOT

    @property
    def is_root(self) -> bool:
        """True for the partition with the root of the system. Another slot of an A/B layout is empty."""
        return self.role == "root" and bool(self.copy_files)

    @property
    def is_fixed(self) -> bool:
        """True if its content cannot be written to."""
        return self.verity is not Verity.OFF or (self.format is not None and self.format.is_read_only)

    @property
    def is_encrypted(self) -> bool:
        """True for a LUKS partition."""
        return self.encrypt is not Encryption.OFF

    @property
    def grows(self) -> bool:
        """True if the file system grows with its partition."""
        usual = self.role in ("root", "home", "srv", "var", "tmp") and self.format is not None
        return not self.is_fixed and (usual if self.grow is None else self.grow)

    @property
    def mount(self) -> Mount | None:
        """Where the system mounts it: the first mount point of the definition, or the usual one of its type."""
        if self.mount_points:
            return self.mount_points[0]
        usual = {"root": "/", "esp": "/efi", "home": "/home", "srv": "/srv", "var": "/var", "tmp": "/var/tmp"}
        path = usual.get(self.role)
        return Mount(path) if path and self.format and (self.role != "root" or self.copy_files) else None


def has_slots(definitions: Iterable[Definition]) -> bool:
    """Return True if a layout has two partitions for versions of a system: of /, or of /usr."""
    roles = [one.role for one in definitions]
    return any(roles.count(role) > 1 for role in ("root", "usr"))


class _Line(NamedTuple):
    """A setting in a file."""

    key: str
    value: str
    place: Place


def builtin_layouts() -> list[str]:
    """Return the names of the layouts in this package."""
    return sorted(entry.name for entry in _layouts().iterdir() if entry.is_dir())


def texts_of(layout: str, folder: Path | None) -> dict[str, str]:
    """Return the texts of the definitions of a layout, by file name: those in a folder, or of a layout with that name.

    Raises: UNKNOWN_NAME for an unknown layout, MISSING_FILE for a folder without definitions.
    """
    if folder is None:
        known = builtin_layouts()
        if layout not in known:
            hint = nearest(layout, known) + "; the path of your own folder has a /, such as ./layout"
            raise StagewrightError(Reason.UNKNOWN_NAME, f"layout {layout!r} not found", hint=hint)
        files = [entry for entry in (_layouts() / layout).iterdir() if entry.name.endswith(SUFFIX)]
        return {entry.name: entry.read_text(encoding="utf-8") for entry in sorted(files, key=lambda one: one.name)}
    found = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    if not found:
        hint = "write one file a partition there, such as 10-esp.conf (repart.d(5))"
        raise StagewrightError(Reason.MISSING_FILE, f"layout {layout!r}: no files *{SUFFIX} in this folder", hint=hint)
    return {
        path.name: path.read_text(encoding="utf-8", errors="replace")[:_LARGEST] for path in found if path.is_file()
    }


def _layouts() -> resources.abc.Traversable:
    return resources.files("stagewright.media") / "layouts"


def read_definitions(texts: Mapping[str, str], folder: Path) -> list[Definition]:
    """Return the partitions that texts of definitions describe, sorted by file name.

    ``folder`` is the place of the files in messages. Raises: INVALID_VALUE with all errors.
    """
    problems: list[StagewrightError] = []
    found = [_read(folder / name, text, problems) for name, text in sorted(texts.items())]
    made = [definition for definition in found if definition]
    names = Counter(definition.name for definition in made)
    for one in made:
        if names[one.name] > 1:
            message = f"{one.place.file.name}: another file also has the name {one.name!r}"
            problems.append(_error(message, one.place, "rename one: numbers before the name do not count"))
    if len(texts) > _MOST:
        problems.append(_error(f"{len(texts)} partitions are too many (at most {_MOST})", Place(folder), "remove some"))
    if problems:
        raise ProblemsError(problems)
    return made


def _read(path: Path, text: str, problems: list[StagewrightError]) -> Definition | None:
    fields: dict[str, object] = {}
    before = len(problems)
    for line in _lines(path, text, problems):
        if line.key not in _KEYS:
            problems.append(_unknown(line))
            continue
        field, read = _KEYS[line.key]
        if field in _LISTS and not line.value:
            fields[field] = ()
            continue
        try:
            value = read(line.value)
        except ValueError as error:
            hint = str(error)
            problems.append(_error(f"{line.key}={line.value}: invalid value", line.place, hint))
            continue
        if field in _LISTS:
            items = value if isinstance(value, list) else [value]
            earlier = fields.get(field, ())
            assert isinstance(earlier, tuple)
            fields[field] = (*earlier, *items)
        else:
            fields[field] = value
    if "type" not in fields and len(problems) == before:
        problems.append(_error(f"{path.name}: no Type= in a section [Partition]", Place(path, 1), "write Type=root"))
    if len(problems) > before:
        return None
    name = re.sub(r"^[0-9]+-", "", path.name.removesuffix(SUFFIX))
    return Definition.model_validate({"name": name, "place": Place(path, 1), **fields})


def _lines(path: Path, text: str, problems: list[StagewrightError]) -> Iterator[_Line]:
    """Yield the settings of the section [Partition] (systemd.syntax(7))."""
    section = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line, place = raw.strip(), Place(path, number)
        if not line or line[0] in "#;":
            continue
        if found := re.fullmatch(r"\[(.*)\]", line):
            section = found[1]
            if section != "Partition":
                problems.append(_error(f"unknown section [{section}]", place, "write [Partition]"))
            continue
        key, equals, value = line.partition("=")
        if not equals or line.endswith("\\"):
            what = "a continued line" if equals else "not a setting"
            problems.append(_error(f"{line[:60]!r}: {what}", place, "write Name=value in one line"))
        elif not section:
            problems.append(_error(f"{key.strip()}=: not in a section", place, "write [Partition] above"))
        elif section == "Partition":
            yield _Line(key.strip(), value.strip(), place)


def _unknown(line: _Line) -> StagewrightError:
    if line.key in _OF_REPART:
        return _error(
            f"{line.key}=: Stagewright does not support this setting of systemd-repart", line.place, "remove it"
        )
    return _error(f"{line.key[:60]}=: unknown setting", line.place, nearest(line.key, _KEYS))


def _error(message: str, place: Place, hint: str) -> StagewrightError:
    return StagewrightError(Reason.INVALID_VALUE, message, place=place, hint=hint)
