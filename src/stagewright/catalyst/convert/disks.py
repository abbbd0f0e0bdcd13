"""Keys of disk images."""

from __future__ import annotations

from stagewright.catalyst.convert.conversion import Conversion
from stagewright.catalyst.convert.row import Row, Status, of_structure, row
from stagewright.catalyst.keys import Target
from stagewright.catalyst.spec import Entry

DISK = {Target.DISKIMAGE2}


def _type(conversion: Conversion, entry: Entry) -> None:
    conversion.put([conversion.root], "type", entry)


def _key(conversion: Conversion, entry: Entry) -> None:
    if conversion.spec.text("diskimage/type") == "ssh":
        conversion.root.put("ssh_key", conversion.file(entry.text), entry.word_place())
    else:
        conversion.say(entry.place, "diskimage/sshkey: only the type ssh has a key, in Catalyst too")


ROWS: tuple[Row, ...] = (
    row(
        "diskimage/qcow2",
        Status.DIFFERS,
        "the file",
        "20 GiB with an EFI system partition of 512 MiB, as Catalyst's; the root is an ext4, where Catalyst makes an "
        "xfs, and systemd-boot starts it.",
        of_structure,
    ),
    row(
        "diskimage/type",
        Status.HONOURED,
        "diskimage-stage1 type",
        "Services, network and log-in as of Catalyst; time zone UTC, locale C.UTF-8, keymap us.",
        _type,
        DISK,
    ),
    row("diskimage/sshkey", Status.HONOURED, "ssh_key", "A key of root.", _key, DISK),
)
