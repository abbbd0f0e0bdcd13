"""Locales that are not UTF-8, and one with other rules for letters: the same output, keys and files as in any other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from stagewright.cli.main import run
from stagewright.errors import Exit
from stagewright.ui.streams import prepare_streams

LOCALES = {"C": ("", ""), "en_US.ISO-8859-1": ("en_US", "ISO-8859-1"), "tr_TR.ISO-8859-9": ("tr_TR", "ISO-8859-9")}
"""Locales by name, each with the source and the character map that localedef(1) makes it of.

Those with UTF-8 take localedef seven times as long.
"""

PROJECT = """
format = 1
[project]
name = "small"
version = "1"
source_date_epoch = 2026-11-20
[seeds.base]
file = "größe.tar"
[stages.live]
kind = "livecd-stage1"
root = "base"
root_overlay = ["ı-und-日本"]
[stages.pack]
kind = "tarball"
root = "live"
"""

SPEC = """\
# größe
subarch: amd64
target: stage1
version_stamp: 1
rel_type: default
profile: default/linux/amd64/23.0
snapshot_treeish: 0000000000000000000000000000000000000000
source_subpath: default/stage3
"""


@dataclass
class Said:
    """The output of a command as bytes, and its exit code."""

    code: int
    out: bytes
    err: bytes


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the locales, for LOCPATH."""
    folder = tmp_path_factory.mktemp("locales")
    if shutil.which("localedef") is None or not Path("/usr/share/i18n/locales/tr_TR").exists():
        pytest.skip("NOT TESTED: no sources of locales (package locales)")
    for name, (source, charmap) in LOCALES.items():
        if source:
            words = ["localedef", "--no-archive", "-i", source, "-f", charmap, str(folder / name)]
            subprocess.run(words, check=True, capture_output=True)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "häuser"
    (folder / "ı-und-日本").mkdir(parents=True)
    (folder / "ı-und-日本/straße").write_text("x", encoding="utf-8")
    with tarfile.open(folder / "größe.tar", "w") as seed:
        seed.add(folder / "ı-und-日本", "etc")
    (folder / "stagewright.toml").write_text(PROJECT, encoding="utf-8")
    return folder


def call(name: str, made: Path, folder: Path, *words: str) -> Said:
    """The command in a locale and a folder."""
    base = {key: value for key, value in os.environ.items() if key != "LANG" and not key.startswith(("LC_", "PYTHON"))}
    environment = {**base, "LC_ALL": name, "LOCPATH": str(made), "STAGEWRIGHT_STORE": str(made / f"store-{name}")}
    line = [sys.executable, "-m", "stagewright", *words]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    return Said(done.returncode, done.stdout, done.stderr)


def encoding_of(name: str) -> str:
    return name.partition(".")[2] or "utf-8"


@pytest.mark.slow
def test_the_locales_have_their_encodings(made: Path) -> None:
    text = "import locale; print(locale.getencoding())"
    environment = {"LC_ALL": "en_US.ISO-8859-1", "LOCPATH": str(made)}
    said = subprocess.run([sys.executable, "-c", text], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == "ISO-8859-1\n"


@pytest.mark.slow
def test_a_project_has_the_same_keys_in_every_locale(made: Path, project: Path) -> None:
    plans = [call(name, made, project, "plan", "--json") for name in (*LOCALES, "C.UTF-8")]
    assert {(plan.code, plan.err) for plan in plans} == {(Exit.OK, b"")}
    keys = [[(row["node"], row["key"]) for row in json.loads(plan.out)["nodes"]] for plan in plans]
    assert len(keys[0]) == 3
    assert all(one == keys[0] for one in keys)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCALES)
def test_paths_are_shown_in_the_encoding_of_the_terminal(made: Path, project: Path, name: str) -> None:
    """Letters that the encoding lacks are escaped."""
    (project / "größe.tar").unlink()
    shutil.rmtree(project / "ı-und-日本")
    said = call(name, made, project, "check")
    assert said.code == Exit.INVALID
    assert b"Traceback" not in said.err
    assert b"error: stagewright.toml:" in said.err
    assert "'größe.tar'".encode(encoding_of(name)) in said.err
    assert "'ı-und-日本'".encode(encoding_of(name), "backslashreplace") in said.err


@pytest.mark.real
def test_a_build_finds_the_files(made: Path, project: Path) -> None:
    """Workers use UTF-8 always, so the engine must do so too."""
    said = call("en_US.ISO-8859-1", made, project, "build", "pack")
    assert said.code == Exit.OK, said.err
    path = said.out.rstrip(b"\n").partition(b"\t")[2].decode("latin-1")
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    words = ["tar", "--list", "--quoting-style=literal", "-f", path]
    listed = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert "straße" in listed.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["C", "en_US.ISO-8859-1"])
def test_a_path_that_is_not_utf_8_is_printed_unchanged(made: Path, project: Path, name: str) -> None:
    odd = os.fsencode(project.parent) + b"/odd-\xff"
    said = call(name, made, project, "media", "check", os.fsdecode(odd))
    assert said.code == Exit.INVALID
    assert odd in said.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["C", "en_US.ISO-8859-1"])
def test_a_project_whose_path_is_not_utf_8_is_refused_in_one_sentence(made: Path, project: Path, name: str) -> None:
    odd = os.fsencode(project.parent) + b"/odd-\xff"
    os.rename(project, odd)
    said = call(name, made, Path(os.fsdecode(odd)), "check")
    assert said.code == Exit.INVALID
    assert said.err.startswith(b"error: the path of the project is not UTF-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCALES)
def test_a_converted_spec_is_a_project(
    made: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "größe.spec").write_text(SPEC, encoding="utf-8")
    said = call(name, made, tmp_path, "catalyst", "convert", "größe.spec", "-o", "neu")
    assert said.code == Exit.OK, said.err
    assert "missing: größe.spec:".encode(encoding_of(name)) in said.err
    assert "# größe.spec" in (tmp_path / "neu/stagewright.toml").read_text(encoding="utf-8")
    assert run(["-C", str(tmp_path / "neu"), "--store", str(tmp_path / "store"), "check"]) == Exit.INVALID
    shown = capsys.readouterr().err  # the seed and the snapshot are missing
    assert shown.count("does not exist") == shown.count("error: ") > 0


def test_bytes_that_a_stream_got_can_be_read_back() -> None:
    prepare_streams()  # pytest reads the streams that it captures with their own error handler
    assert b"caf\xe9".decode("utf-8", errors="stagewright") == "caf\N{REPLACEMENT CHARACTER}"
