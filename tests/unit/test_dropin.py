"""The command line of Catalyst: what wrappers read from it, what is refused, how it ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_engine_snapshot import commit, git

from stagewright.catalyst.catalyst_conf import CatalystConfig
from stagewright.dropin.history import history
from stagewright.dropin.ledger import LedgerEntry, remember
from stagewright.dropin.main import main

LINE = re.compile(
    r"\d\d [A-Z][a-z]{2} 20\d\d \d\d:\d\d:\d\d \S+: (DEBUG|INFO|NOTICE|WARNING|ERROR|CRITICAL) *: (?P<text>.*)"
)

STAGE1 = """target: stage1
subarch: amd64
version_stamp: 20261120T000000Z
rel_type: demo
profile: default/linux/amd64
snapshot_treeish: {treeish}
source_subpath: demo/seed
"""


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def texts(self) -> list[str]:
        """Return the texts of the log; every line must have the form of a log line."""
        found = [LINE.fullmatch(line) for line in self.out.splitlines()]
        assert all(found), self.out
        return [line["text"] for line in found if line]


Catalyst = Callable[..., Said]


@pytest.fixture
def catalyst(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Catalyst:
    """The command with a separate catalyst.conf."""
    conf = tmp_path / "catalyst.conf"
    conf.write_text(f'storedir = "{tmp_path}/storedir"\nrepo_openpgp_key_path = ""\n', encoding="utf-8")
    monkeypatch.setenv("STAGEWRIGHT_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("STAGEWRIGHT_OFFLINE", raising=False)

    def call(*words: str | Path, config: bool = True) -> Said:
        with pytest.raises(SystemExit) as end:
            main([*(["-c", str(conf)] if config else []), *map(str, words)])
        said = capsys.readouterr()
        return Said(int(end.value.code or 0), said.out, said.err)

    return call


def spec(folder: Path, name: str = "stage1", treeish: str = "0" * 40, **more: str) -> Path:
    file = folder / f"{name}.spec"
    file.write_text(
        STAGE1.format(treeish=treeish) + "".join(f"{key}: {value}\n" for key, value in more.items()), encoding="utf-8"
    )
    return file


def test_help_has_the_word_that_wrappers_look_for(catalyst: Catalyst) -> None:
    said = catalyst("--help", config=False)
    assert said.code == 0
    assert "git-treeish" in said.out


def test_version(catalyst: Catalyst) -> None:
    assert catalyst("-V", config=False).out.startswith("catalyst (stagewright ")


def test_a_snapshot_as_wrappers_read_it(catalyst: Catalyst, tmp_path: Path) -> None:
    """The pipeline is that of releng's wrapper: egrep, then the fifth and the seventh word."""
    gitdir = tmp_path / "storedir/repos/gentoo.git"
    gitdir.parent.mkdir(parents=True)
    commit_id = commit(tmp_path / "upstream", "one")
    git("clone", "-q", "--bare", tmp_path / "upstream", gitdir, cwd=tmp_path)
    said = catalyst("-s", "stable")
    assert said.code == 0
    assert said.texts
    pipe = "grep -Eo 'Creating .* tree snapshot [0-9a-f]{40} from .*' | cut -d' ' -f5,7"
    read = subprocess.check_output(["sh", "-c", pipe], input=said.out, text=True)
    assert read.split() == [commit_id, str(gitdir)]
    assert (tmp_path / f"storedir/snapshots/gentoo-{commit_id}.sqfs").is_file()


def test_snapshots_are_verified_unless_the_configuration_says_no(
    catalyst: Catalyst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catalyst has a default for the key since January 2026, and fails without the file."""
    gitdir = tmp_path / "storedir/repos/gentoo.git"
    gitdir.parent.mkdir(parents=True)
    commit(tmp_path / "upstream", "one")
    git("clone", "-q", "--bare", tmp_path / "upstream", gitdir, cwd=tmp_path)
    assert CatalystConfig().repo_openpgp_key_path == "/usr/share/openpgp-keys/gentoo-release.asc"
    conf = tmp_path / "key.conf"
    conf.write_text(
        f'storedir = "{tmp_path}/storedir"\nrepo_openpgp_key_path = "{tmp_path}/absent.asc"\n', encoding="utf-8"
    )
    said = catalyst("-c", conf, "-s", "stable", config=False)
    assert (said.code, (tmp_path / "storedir/snapshots").exists()) == (1, False)
    assert "sec-keys/openpgp-keys-gentoo-release" in said.out
    assert catalyst("-s", "stable").code == 0


def test_a_snapshot_spec_is_one_too(catalyst: Catalyst, tmp_path: Path) -> None:
    gitdir = tmp_path / "storedir/repos/gentoo.git"
    gitdir.parent.mkdir(parents=True)
    commit_id = commit(tmp_path / "upstream", "one")
    git("clone", "-q", "--bare", tmp_path / "upstream", gitdir, cwd=tmp_path)
    file = tmp_path / "snapshot.spec"
    file.write_text(f"target: snapshot\nsnapshot_treeish: {commit_id}\n", encoding="utf-8")
    assert catalyst("-f", file).code == 0
    assert (tmp_path / f"storedir/snapshots/gentoo-{commit_id}.sqfs").is_file()


def test_a_snapshot_that_cannot_be_made(catalyst: Catalyst) -> None:
    said = catalyst("-s", "stable", "--offline")
    assert said.code == 1
    assert "gentoo.git: repository not found" in said.out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "-f or -s"),
        (["-f", "/dev/null", "-s", "stable"], "-f or -s"),
        (["-F", "-f", "/dev/null"], "--fetchonly"),
        (["--enter-chroot", "-f", "/dev/null"], "--enter-chroot"),
        (["-C", "target=stage1", "-f", "/dev/null"], "--cli"),
        (["--p", "-f", "/dev/null"], "--p could match --purge, --purgeonly, --purgetmponly"),
        (["-x", "-s", "stable"], "-x"),
        (["--frobnicate"], "--frobnicate"),
        (["--log-file", "/nowhere/at/all", "-s", "stable"], "--log-file"),
    ],
)
def test_what_is_refused_is_named(catalyst: Catalyst, words: list[str], named: str) -> None:
    said = catalyst(*words)
    assert said.code == 2
    assert named in said.err


def test_options_without_effect_are_reported(catalyst: Catalyst, tmp_path: Path) -> None:
    said = catalyst("--versioned-cachedir", "-a", "-T", "-f", spec(tmp_path))
    assert said.code == 0
    assert "--versioned-cachedir has no effect" in said.texts
    assert any("nothing to clear" in text for text in said.texts)


def test_all_errors_of_a_spec_are_reported_with_their_places(catalyst: Catalyst, tmp_path: Path) -> None:
    file = spec(tmp_path, subarhc="amd64", portage_confdir="/nowhere/at/all")
    said = catalyst("-f", file)
    assert said.code == 2  # as Catalyst, which has read its configuration before
    places = re.findall(rf"{re.escape(str(file))}:(\d+):\d+", "\n".join(said.texts))
    assert {"8", "9"} <= set(places)
    assert "Traceback" not in said.out


@pytest.mark.parametrize(("name", "code"), [("nowhere.spec", 2), (".", 1)])
def test_no_spec_has_the_exit_code_of_catalyst(catalyst: Catalyst, tmp_path: Path, name: str, code: int) -> None:
    assert catalyst("-f", tmp_path / name).code == code


def test_no_configuration_has_the_exit_code_of_catalyst(catalyst: Catalyst, tmp_path: Path) -> None:
    said = catalyst("-c", tmp_path / "nowhere.conf", "-s", "stable")
    assert said.code == 2
    assert "nowhere.conf" in said.err


@pytest.mark.parametrize("option", ["--configs", "--conf", "--configs="])
def test_options_have_the_names_of_catalyst_and_can_be_shortened(
    catalyst: Catalyst, tmp_path: Path, option: str
) -> None:
    """As by argparse: every unique beginning of a long option is that option."""
    conf = tmp_path / "other.conf"
    conf.write_text(f'storedir = "{tmp_path}/elsewhere"\nrepo_name = "mine"\n', encoding="utf-8")
    words = [f"{option}{conf}"] if option.endswith("=") else [option, conf]
    said = catalyst(*words, "--snap", "stable", "--off", config=False)
    assert f"{tmp_path}/elsewhere/repos/mine.git" in said.out
    assert catalyst(*words, "--purgetmp", "--fil", spec(tmp_path), config=False).code == 0


def test_of_several_configurations_the_last_word_counts(catalyst: Catalyst, tmp_path: Path) -> None:
    other = tmp_path / "other.conf"
    other.write_text('repo_name = "mine"\n', encoding="utf-8")
    said = catalyst("-c", other, "-s", "stable", "--offline")
    assert f"{tmp_path}/storedir/repos/mine.git" in said.out


@pytest.mark.parametrize(("option", "packages", "half_done"), [("-T", True, False), ("-P", False, False)])
def test_purging(catalyst: Catalyst, tmp_path: Path, option: str, packages: bool, half_done: bool) -> None:
    storedir = tmp_path / "storedir"
    cache, chroot = storedir / "packages/demo/stage1-amd64", storedir / "tmp/demo/stage1-amd64-20261120T000000Z"
    result = storedir / "builds/demo/stage1-amd64-20261120T000000Z.tar.xz"
    for folder in (cache, chroot, result):
        folder.mkdir(parents=True)
    assert catalyst(option, "-f", spec(tmp_path)).code == 0
    assert (cache.exists(), chroot.exists(), result.exists()) == (packages, half_done, True)


def test_nothing_outside_of_the_storedir_is_purged(catalyst: Catalyst, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    for path in (str(precious), "../precious"):
        said = catalyst("-P", "-f", spec(tmp_path, pkgcache_path=path))
        assert said.code == 0
        assert precious.is_dir()
        assert any("is not below" in text for text in said.texts)


def test_the_log_in_a_file_and_by_level(catalyst: Catalyst, tmp_path: Path) -> None:
    log = tmp_path / "catalyst.log"
    assert catalyst("--log-file", log, "-T", "-f", spec(tmp_path)).out == ""
    assert all(LINE.fullmatch(line) for line in log.read_text(encoding="utf-8").splitlines())
    assert "Processing spec file" in log.read_text(encoding="utf-8")
    assert catalyst("--log-level", "error", "-T", "-f", spec(tmp_path)).out == ""
    assert catalyst("--debug", "--log-level", "error", "-T", "-f", spec(tmp_path)).out == ""
    assert "\033[1;35m" in catalyst("--color", "-f", tmp_path).out


def test_what_made_the_sources_is_looked_up(tmp_path: Path) -> None:
    storedir = tmp_path / "storedir"
    conf = tmp_path / "catalyst.conf"
    conf.write_text(f'storedir = "{storedir}"\n', encoding="utf-8")
    stage1 = spec(tmp_path)
    tarball = storedir / "builds/demo/stage1-amd64-20261120T000000Z.tar.xz"
    tarball.parent.mkdir(parents=True)
    tarball.touch()
    record = LedgerEntry(stage1, stage1.read_text(encoding="utf-8"), "k")
    remember(storedir, "demo/stage1-amd64-20261120T000000Z", record, [tarball])
    stage3 = spec(tmp_path, "stage3", target="stage3", source_subpath="demo/stage1-amd64-20261120T000000Z")
    spare = tmp_path / "spare"
    spare.mkdir()
    assert history(stage3, [conf], spare) == {stage1: record}
    stage1.write_text("target: stage1\n", encoding="utf-8")
    (found,) = history(stage3, [conf], spare)
    assert found.parent == spare, "a spec that has changed since is taken as it was"
    latest = spec(tmp_path, "latest", source_subpath="demo/stage1-amd64-latest")
    assert history(latest, [conf], spare) == {}


def test_the_work_is_done_without_a_reader_of_the_log(tmp_path: Path) -> None:
    conf = tmp_path / "catalyst.conf"
    conf.write_text(f'storedir = "{tmp_path}/storedir"\n', encoding="utf-8")
    chroot = tmp_path / "storedir/tmp/demo/stage1-amd64-20261120T000000Z"
    chroot.mkdir(parents=True)
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-c", "from stagewright.dropin.main import main; main()"]
    words += ["-c", str(conf), "-T", "-f", str(spec(tmp_path)), "--store", str(tmp_path / "store")]
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 0
    assert not chroot.exists()
    assert done.stderr.count("\n") == 1
    assert "cannot be written to" in done.stderr
