"""Keys of disk images."""

from __future__ import annotations

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.rule import ConversionRule, KeyStatus, part_of_structure, rule
from stagewright.catalyst.spec import SpecEntry
from stagewright.catalyst.spec_keys import Target

DISK = {Target.DISKIMAGE2}


def _type(conversion: Conversion, entry: SpecEntry) -> None:
    conversion.put([conversion.root], "type", entry)


def _key(conversion: Conversion, entry: SpecEntry) -> None:
    if conversion.spec.text("diskimage/type") == "ssh":
        conversion.root.put("ssh_key", conversion.file(entry.text), entry.word_place())
    else:
        conversion.notice(entry.place, "diskimage/sshkey: only the type ssh has a key, in Catalyst too")


RULES: tuple[ConversionRule, ...] = (
    rule(
        "diskimage/qcow2",
        KeyStatus.DIFFERS,
        "the file",
        "20 GiB with an EFI system partition of 512 MiB, as Catalyst's; the root is an ext4, where Catalyst makes an "
        "xfs, and systemd-boot starts it.",
        part_of_structure,
    ),
    rule(
        "diskimage/type",
        KeyStatus.HONOURED,
        "diskimage-stage1 type",
        "Services, network and log-in as of Catalyst; time zone UTC, locale C.UTF-8, keymap us.",
        _type,
        DISK,
    ),
    rule("diskimage/sshkey", KeyStatus.HONOURED, "ssh_key", "A key of root.", _key, DISK),
)
