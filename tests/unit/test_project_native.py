"""Notes for compilers that build for the processor at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from stagewright.kinds.registry import kinds
from stagewright.project.load import load

HEAD = 'format = 1\nproject.name = "box"\nrepos.demo.path = "repo"\nseeds.base.file = "root"\n'


@pytest.mark.parametrize(
    ("settings", "noted"),
    [
        ('common_flags = "-O2 -march=native -pipe"', ["system: common_flags: -march=native"]),
        ('make_conf.RUSTFLAGS = "-C target-cpu=native"', ["system: make_conf.RUSTFLAGS: target-cpu=native"]),
        (
            'make_conf = { CFLAGS = "-mtune=native", LDFLAGS = "-mcpu=native" }',
            ["make_conf.CFLAGS", "make_conf.LDFLAGS"],
        ),
        ('common_flags = "-O2 -march=x86-64-v3"\nmake_conf.FOO = "native"', []),
        ("", []),
    ],
)
def test_flags_for_the_processor_at_hand_are_noted(tmp_path: Path, settings: str, noted: list[str]) -> None:
    for name in ("root/bin", "repo/profiles/p"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "repo/profiles/repo_name").write_text("demo\n", encoding="utf-8")
    stage = f'[stages.system]\nkind = "stage4"\nroot = "base"\nprofile = "p"\n{settings}\n'
    (tmp_path / "stagewright.toml").write_text(HEAD + stage, encoding="utf-8")
    notes = load(tmp_path, kinds()).notes()
    assert len(notes) == len(noted)
    assert all(words in note for words, note in zip(noted, notes, strict=True))
