"""Catalyst's specs: reading them, and the graph of a release of the official size."""

from __future__ import annotations

from pathlib import Path

from bench.measure import Row, Setting, median_of, stagewright
from stagewright.catalyst.spec import read_spec

SPECS = 406
"""Number of specs in the official releases."""
ROUNDS = 5

_SHORT = """\
subarch: amd64
target: {target}
version_stamp: v{number}-@TIMESTAMP@
rel_type: 23.0-default
profile: default/linux/amd64/23.0
snapshot_treeish: @TREEISH@
source_subpath: 23.0-default/{source}
compression_mode: pixz
update_seed: yes
update_seed_command: --update --deep --newuse @world
portage_confdir: @REPO_DIR@/releases/portage/stages
portage_prefix: releng
"""


def measure(setting: Setting) -> list[Row]:
    """Measure hundreds of short specs, as the official releases have, and some long ones."""
    folder, rounds = setting.folder, setting.count(ROUNDS)
    files = _synthetic(folder / "specs", setting.count(SPECS))
    specs = len(files)
    seconds = median_of(lambda: [read_spec(file) for file in files], rounds)
    words = ("catalyst", "graph", str(folder / "specs"), "--json")
    command = median_of(lambda: stagewright(folder, setting.store, *words), rounds)
    return [
        Row(f"reading {specs} specs", seconds, specs / 2000, "s", f"{specs / seconds:.0f} specs a second"),
        Row(f"catalyst graph of {specs} specs", command, 1.5, "s", "the whole command, checks included"),
    ]


def _synthetic(folder: Path, specs: int) -> list[Path]:
    folder.mkdir()
    for number in range(specs):
        target = "stage3" if number % 2 else "stage1"
        source = f"stage1-amd64-v{number - 1}-@TIMESTAMP@" if number % 2 else f"stage3-amd64-v{number + 1}-latest"
        text = _SHORT.format(target=target, number=number, source=source)
        if target == "stage3":
            text = text.replace("update_seed", "# update_seed")
        if number % 20 == 0:
            text += "keep_repos:\n" + "".join(f"\tname{line}\n" for line in range(250))
        (folder / f"{number}.spec").write_text(text, encoding="utf-8")
    return sorted(folder.iterdir())
