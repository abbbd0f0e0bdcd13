"""``stagewright test`` with a real QEMU and the smallest system: a boot sector that prints a text."""

import json
import subprocess
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from small_iso import SMALL_ISO

from stagewright.api import Session
from stagewright.cli.main import run
from stagewright.errors import Exit
from stagewright.store.meta import Meta
from stagewright.store.store import Store

pytestmark = pytest.mark.boot

PROJECT = f"""{SMALL_ISO}[tests.up]
boots = "iso"
firmware = "bios"
expect = ["end of the text"]
console = "fail"
[tests.panics]
boots = "iso"
firmware = "bios"
expect = ["never"]
"""

TEXT = """Linux version 6.18
[   18.000000] I/O error, dev sr0, sector 164032
end of the text
Kernel panic - not syncing: No working init found.
"""

CODE = bytes.fromhex("31c0 8ed8 be217c ac 84c0 7412 88c4 bafd03 ec a820 74fb 88e0 baf803 ee ebe9 f4 ebfd")
"""Print the bytes that follow the code, up to a NUL, on the first serial port (0x3f8) when it is free, then halt."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose ISO is built: it has the boot sector."""
    (tmp_path / "project/seed/etc").mkdir(parents=True)
    (tmp_path / "project/stagewright.toml").write_text(PROJECT, encoding="utf-8")
    (tmp_path / "files").mkdir()
    code = CODE + TEXT.replace("\n", "\r\n").encode() + b"\0"
    (tmp_path / "files/boot.bin").write_bytes(code.ljust(2048, b"\0"))
    store = Store(tmp_path / "store")
    session = Session.open(tmp_path / "project", store=store.path)
    session.resolve_pins()
    step = session.plan(["up"]).steps["iso"]
    tree = store.new_work(step.key.digest) / "tree"
    tree.mkdir()
    words = ["xorriso", "-as", "mkisofs", "-quiet", "-b", "boot.bin", "-no-emul-boot", "-boot-load-size", "4"]
    subprocess.run([*words, "-o", tree / "a.iso", tmp_path / "files"], check=True, stderr=subprocess.DEVNULL)
    facts = {"file": "a.iso", "bytes": (tree / "a.iso").stat().st_size}
    meta = Meta(step.key.digest, "iso", "livecd-stage3", time.time(), 1, step.key.data, facts=facts)
    store.commit(tree, step.node.yields, meta)
    return tmp_path


def test_a_test_leaves_findings_chart_console_and_results(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["-C", str(folder / "project"), "--store", str(folder / "store")]
    assert run([*place, "test", "--progress=plain", "--junit", str(folder / "tests.xml")]) == Exit.FAILED
    said = capsys.readouterr().err
    assert "up: the test passed, but its console shows" in said
    assert "line 2, " in said
    assert "I/O error, dev sr0, sector 164032: a disk or server returned a read or write error" in said
    assert "panics: step 2 (wait for never): the kernel panicked: the root has no init that can be executed" in said
    assert "hint: check that the root has /sbin/init" in said
    assert "stagewright test panics --interactive" in said
    out = folder / "project/out/tests"
    assert f"screen: {out}/panics/screen.png" in said

    report = json.loads((out / "up/result.json").read_text(encoding="utf-8"))
    assert (report["format"], report["passed"]) == (1, True)
    assert [step["state"] for step in report["steps"]] == ["passed", "passed"]
    assert report["findings"][0]["line"] == 2
    assert ET.parse(out / "up/boot.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert run([*place, "log", "--times", "up"]) == Exit.OK
    shown = capsys.readouterr().out.splitlines()
    assert [line.partition("] ")[2] for line in shown[:3]] == TEXT.splitlines()[:3]

    suites = {suite.get("name"): suite for suite in ET.parse(folder / "tests.xml").getroot()}
    counts = {name: [suite.get(key) for key in ("tests", "failures", "errors")] for name, suite in suites.items()}
    assert counts == {"up": ["3", "1", "0"], "panics": ["2", "1", "0"]}
