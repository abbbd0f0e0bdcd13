"""``make bench``: measure, print a table, and fail if a limit is exceeded.

Every number is a ratio against a floor measured in the same run, or a time that is far from the machine's noise. What a
benchmark leaves is written to the disk before the next one, and removed after the last one: for some minutes after many
files were removed, ext4 creates files slowly. All of them need 20 GB in /var/tmp.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from bench import (
    atoms,
    catalyst,
    content,
    cores,
    digests,
    embedded,
    farm_nodes,
    live,
    media,
    mkosi,
    netboot,
    nodes,
    packing,
    plan,
    remotes,
    roots,
    seeds,
    specs,
    start,
    trees,
    unpacking,
)
from bench.measure import Row, Setting, show

BENCHMARKS = {
    module.__name__.rpartition(".")[2]: module
    for module in (
        *(start, plan, atoms, digests, trees, content, specs),
        *(nodes, cores, farm_nodes, remotes, roots, seeds, packing, unpacking, media, live, netboot, embedded),
    )
}
"""All benchmarks by name, in their order."""

PEERS = {"catalyst": catalyst, "mkosi": mkosi}
"""Comparisons with other programs, which run on request. Catalyst needs checkouts, and mkosi downloads packages."""


def main() -> int:
    """Run the chosen benchmarks; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/cache/stagewright-bench"), help="kept between runs")
    parser.add_argument("--only", nargs="*", choices=[*BENCHMARKS, *PEERS], help="names of benchmarks (default: all)")
    parser.add_argument("--tiny", action="store_true", help="run on tiny inputs, without judging the numbers")
    parser.add_argument("--catalyst", type=Path, help="a checkout of Catalyst, to compare with")
    parser.add_argument("--decomp", type=Path, help="a checkout of pyDeComp, which Catalyst needs")
    parser.add_argument("--mkosi", action="store_true", help="also compare with mkosi 14 (Debian 12)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what a benchmark started ends
    if bool(options.catalyst) != bool(options.decomp) or ("catalyst" in (options.only or ()) and not options.catalyst):
        parser.error("--catalyst and --decomp belong together")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder:
        for name in options.only or [*BENCHMARKS, *(name for name in PEERS if getattr(options, name))]:
            own = Path(folder, name)
            own.mkdir()
            os.sync()
            found = {**BENCHMARKS, **PEERS}[name].measure(
                Setting(own, options.store, options.tiny, catalyst=options.catalyst, decomp=options.decomp)
            )
            show(found)
            rows += found
    return 0 if options.tiny or all(row.fine for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
