"""``make bench``: measure, print a table, fail when a limit is exceeded.

Every number is a ratio against a floor measured in the same run, or a time that is far from the machine's noise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench import embedded, media, netboot, packing, plan, roots, specs
from bench.measure import Row, show


def main() -> int:
    """Run the benchmarks that were asked for."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright-bench"), help="kept between runs")
    parser.add_argument(
        "--only",
        nargs="*",
        choices=["plan", "specs", "roots", "packing", "media", "netboot", "embedded"],
        help="which ones (default: all)",
    )
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as name:
        folder = Path(name)
        for module in (plan, specs, roots, packing, media, netboot, embedded):
            if not options.only or module.__name__.rpartition(".")[2] in options.only:
                rows += module.measure(folder, options.store)
    show(rows)
    return 0 if all(row.fine for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
