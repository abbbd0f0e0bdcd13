"""Rules for the keys of disk images."""

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
        conversion.notice(entry.place, "diskimage/sshkey: ignored, it applies to the type ssh only, as in Catalyst")


RULES: tuple[ConversionRule, ...] = (
    rule(
        "diskimage/qcow2",
        KeyStatus.DIFFERS,
        "the file",
        "20 GiB with an EFI system partition of 512 MiB, as in Catalyst. The root file system is ext4 (Catalyst: xfs). "
        "systemd-boot starts it.",
        part_of_structure,
    ),
    rule(
        "diskimage/type",
        KeyStatus.HONOURED,
        "diskimage-stage1 type",
        "Services, network and log-in as in Catalyst; time zone UTC, locale C.UTF-8, keymap us.",
        _type,
        DISK,
    ),
    rule("diskimage/sshkey", KeyStatus.HONOURED, "ssh_key", "A public key for root.", _key, DISK),
)
