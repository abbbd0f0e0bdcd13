"""``make netboot-matrix``: start machines from the network in every way, by examples/netboot and examples/arm64.

It writes a table in docs/netboot.md. Each line is a test of these projects; the tests run one at a time. The times are
those of the machine that ran them.
"""

from __future__ import annotations

import sys

from bench.matrix import ARM64, ROOT, Table, copy, fill
from stagewright.kinds.common.guest import MachineTest
from stagewright.kinds.tests.netboots import NetbootTest, NetStart
from stagewright.netboot.methods import Method

EXAMPLE, PAGE = ROOT / "examples" / "netboot", ROOT / "docs" / "netboot.md"
COLUMNS = ("machine", "loads first", "set", "image", "memory")


def main() -> int:
    """Write the matrix of network boots."""
    table = Table({EXAMPLE: copy, ARM64: copy}, PAGE, "netboot-matrix", COLUMNS, NetbootTest, cells)
    return fill(table, "python -m bench.netboot_matrix", __doc__)


def cells(test: MachineTest, machine: str) -> list[str]:
    """Return the first cells of a test's row."""
    assert isinstance(test, NetbootTest)
    method = test.method or (Method.HTTP if test.start is NetStart.HTTP_BOOT else Method.INITRD)
    return [machine, str(test.start), test.netboots, str(method), f"{test.memory} MiB"]


if __name__ == "__main__":
    sys.exit(main())
