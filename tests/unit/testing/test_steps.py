"""Steps and Python files of tests: errors of the project, and runs with a program that acts as QEMU."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from plays import BIOS, LOGIN, TCG
from small_iso import SMALL_ISO

from stagewright.errors import Place, ProblemsError, Reason, StagewrightError
from stagewright.kinds.registry import kinds
from stagewright.project.load import load
from stagewright.run import run
from stagewright.testing.boot import BootRun
from stagewright.testing.keyboard import keys_of, keys_of_character
from stagewright.testing.results import Report, State
from stagewright.testing.screen import Region, digest, text_of
from stagewright.testing.script import BootScript, Login
from stagewright.testing.setup import MachineSetup
from stagewright.testing.steps import VERBS, Step
from stagewright.vm.disks import EMPTY, DiskBus, EmptyDisk
from stagewright.vm.machine_spec import MachineSpec


def problems(folder: Path, tests: str) -> list[StagewrightError]:
    """Return the errors of a project with these tests."""
    (folder / "seed").mkdir(exist_ok=True)
    (folder / "stagewright.toml").write_text(SMALL_ISO + tests, encoding="utf-8")
    try:
        load(folder, kinds())
    except ProblemsError as error:
        return error.problems
    return []


@pytest.mark.slow
def test_every_verb_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    steps = """
	{ start = true },
	{ wait = "ready" },
	{ login = { user = "root", password = "x" } },
	{ unit = "sshd.service", timeout = 5 },
	{ port = 22 },
	{ file = "/etc/passwd" },
	{ run = "id", expect = "root" },
	{ run = "false", status = 1 },
	{ run = "ping -c 1 server", until = true },
	{ type = "text\\n" },
	{ keys = ["ctrl-alt-f2", "enter"] },
	{ chars = "root" },
	{ screen = { text = "login" } },
	{ screen = { digest = "%s", region = [0, 0, 10, 10] } },
	{ screenshot = "menu" },
	{ copy_in = { file = "file", to = "/file" } },
	{ copy_out = { file = "/file", to = "copy" } },
	{ http = "http://:80/", status = 404, expect = "x" },
	{ ssh = "true" },
	{ reboot = true },
	{ reboot = "disk" },
	{ crash = true },
	{ start = "disk" },
	{ poweroff = true },
""" % ("0" * 64)
    text = f'[tests.t]\nboots = "iso"\nnetwork = true\ndisk = "8G"\nsteps = [{steps}]\n'
    assert problems(tmp_path, text) == []
    assert all(f"{{ {verb} = " in steps for verb in VERBS)


@pytest.mark.parametrize(
    ("step", "message", "column"),
    [
        ('{ wiat = "x" }', "unknown key", 3),
        ('{ wait = "x", run = "y" }', "exactly one verb (found run and wait)", 1),
        ("{ timeout = 3 }", "exactly one verb (found none)", 1),
        ('{ wait = "(" }', "invalid regular expression", 10),
        ('{ run = "x", expect = "[" }', "invalid regular expression", 23),
        ('{ wait = "x", status = 1 }', "`status` does not apply to `wait`", 24),
        ('{ run = "x", until = true, status = 1 }', "excludes", 22),
        ("{ reboot = false }", "does nothing", 12),
        ('{ reboot = "disk" }', "does not have an empty disk", 12),
        ('{ start = "disc" }', "invalid value 'disc'", 11),
        ('{ http = "https://:1/" }', "not an HTTP URL", 10),
        ('{ http = "http://:99999/" }', "not an HTTP URL", 10),
        ('{ http = "http://:80/" }', "has no network", 10),
        ('{ ssh = "true" }', "has no network", 9),
        ('{ copy_in = { file = "missing", to = "/x" } }', "missing", 22),
        ('{ copy_in = { file = "seed", to = "x" } }', "invalid value", 35),
        ('{ copy_out = { file = "/x", to = "../x" } }', "invalid value", 34),
        ('{ screenshot = "../x" }', "invalid value", 16),
        ("{ port = 99999 }", "port", 10),
        ('{ screen = { region = [1, 2, 3, 4], text = "x" } }', "applies to `digest`", 23),
        ("{ screen = {} }", "needs either", 12),
        ('{ wait = "x", machine = "other" }', "has one machine", 25),
    ],
)
def test_a_wrong_step_is_reported_with_its_place(tmp_path: Path, step: str, message: str, column: int) -> None:
    found = problems(tmp_path, f'[tests.t]\nboots = "iso"\nsteps = [\n{{ wait = "ok" }},\n{step},\n]\n')
    assert [problem for problem in found if message in str(problem)], found
    problem = next(problem for problem in found if message in str(problem))
    line = SMALL_ISO.count("\n") + 5
    assert problem.place == Place(tmp_path / "stagewright.toml", line, column)


def test_a_container_has_no_screen(tmp_path: Path) -> None:
    found = problems(tmp_path, '[tests.t]\nstarts = "live"\nsteps = [{ reboot = true }]\n')
    assert "a container cannot do it" in found[0].message


SCRIPT = """from stagewright.testing import Machine


def test({parameters}) -> None:
    {body}
"""


def write_script(folder: Path, body: str = "pass", parameters: str = "machine: Machine") -> Path:
    file = folder / "t.py"
    file.write_text(SCRIPT.format(body=body, parameters=parameters), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "reason", "line", "message"),
    [
        ("def test(machine)\n", Reason.SYNTAX, 1, "not valid Python"),
        ("\nx = 1\n", Reason.MISSING_KEY, 1, "no function `test`"),
        ("def test(\n    machina): pass\n", Reason.UNKNOWN_NAME, 2, "'machina'"),
    ],
)
def test_a_wrong_file_is_reported_without_running_it(
    tmp_path: Path, text: str, reason: Reason, line: int, message: str
) -> None:
    (tmp_path / "t.py").write_text(text, encoding="utf-8")
    (found,) = problems(tmp_path, '[tests.t]\nboots = "iso"\nscript = "t.py"\n')
    assert (found.reason, found.place and found.place.line) == (reason, line)
    assert found.place and found.place.file == tmp_path / "t.py"
    assert message in found.message


def test_steps_and_a_file_exclude_each_other(tmp_path: Path) -> None:
    write_script(tmp_path)
    found = problems(tmp_path, '[tests.t]\nboots = "iso"\nscript = "t.py"\nsteps = [{ wait = "x" }]\n')
    assert "exclude each other" in found[0].message


def test_a_test_without_steps_is_reported(tmp_path: Path) -> None:
    assert "checks nothing" in problems(tmp_path, '[tests.t]\nboots = "iso"\n')[0].message


def play(
    stage: Path, script: BootScript, *scenes: object, spec: MachineSpec = BIOS, files: dict[str, Path] | None = None
) -> Report:
    """Run a test with the program that acts as QEMU."""
    (stage / "scenes.json").write_text(json.dumps(scenes), encoding="utf-8")
    setup = MachineSetup(spec, TCG, qemu=str(stage / "qemu-fake"))
    return BootRun({"machine": setup}, script, stage / "out", "t", files or {}).run()


ROOT = Login("root", "secret")


@pytest.mark.slow
def test_steps_run_in_order_and_the_report_has_them(stage: Path) -> None:
    steps = (
        Step(run="echo one", expect="^one$"),
        Step(screenshot="menu"),
        Step(keys=["ctrl-alt-f2"]),
        Step(reboot=True),
        Step(run="echo two", expect="^two$"),
        Step(run="exit 3", status=3),
    )
    report = play(stage, BootScript(login=ROOT, steps=steps, poweroff=True, seconds=60), LOGIN)
    assert report.passed
    texts = ["start", "log in", "run echo one", "screenshot menu", "press ctrl-alt-f2", "reboot", "run echo two"]
    assert [step.text for step in report.steps] == [*texts, "run exit 3", "poweroff"]
    assert {step.state for step in report.steps} == {State.PASSED}
    assert (stage / "out/menu.png").exists()
    sent = [json.loads(line) for line in (stage / "qmp.log").read_text(encoding="utf-8").splitlines()]
    keys = [one["arguments"]["keys"] for one in sent if one["execute"] == "send-key"]
    assert [[key["data"] for key in combination] for combination in keys] == [["ctrl", "alt", "f2"]]
    assert [one["arguments"]["reboot"] for one in sent if one["execute"] == "set-action"] == ["reset", "shutdown"]
    written = json.loads((stage / "out/result.json").read_text(encoding="utf-8"))
    assert Report.from_dict(written) == report
    assert written["milestones"] == dict(report.machine.milestones)


@pytest.mark.slow
def test_the_steps_after_a_failure_are_skipped(stage: Path) -> None:
    steps = (Step(run="true"), Step(run="false"), Step(run="echo never"))
    with pytest.raises(StagewrightError) as caught:
        play(stage, BootScript(login=ROOT, steps=steps, poweroff=True, seconds=60), LOGIN)
    assert caught.value.message.startswith("step 4 (run false): ")
    assert caught.value.hint == "stagewright test t --interactive stops at this step, with a Python prompt"
    report = Report.from_dict(json.loads((stage / "out/result.json").read_text(encoding="utf-8")))
    assert [step.state for step in report.steps[-3:]] == [State.FAILED, State.SKIPPED, State.SKIPPED]
    assert [step.text for step in report.steps[-2:]] == ["run echo never", "poweroff"]
    assert not report.passed
    assert report.error == caught.value.message


@pytest.mark.slow
def test_a_server_in_the_machine_is_asked_over_a_forwarded_port(stage: Path) -> None:
    spec = MachineSpec(firmware="bios", network="user", user_network=("restrict=on",))
    steps = (
        Step(http="http://:80/a?b=c", expect="^you asked machine for /a.b=c$"),
        Step(http="http://example.org:80/missing", status=404, expect="you asked example.org"),
    )
    assert play(stage, BootScript(steps=steps, seconds=60), ["up\r\n", "stay"], spec=spec).passed
    with pytest.raises(StagewrightError) as caught:
        play(
            stage, BootScript(steps=(Step(http="http://:80/missing", timeout=0.5),)), [], ["up\r\n", "stay"], spec=spec
        )
    assert "last answer: " in caught.value.detail


@pytest.mark.slow
def test_a_python_file_drives_the_machine(stage: Path) -> None:
    body = """machine.login("root", "secret")
    with machine.subtest("first"):
        assert machine.succeed("echo 1") == "1"
    machine.shutdown()
    assert not machine.is_running
    machine.start()
    machine.wait_for_console_text("up again")
    machine.crash()
"""
    script = BootScript(file=write_script(stage, body), seconds=60)
    report = play(stage, script, LOGIN, ["up again\r\n", "stay"])
    assert [step.text for step in report.steps][1:4] == ["log in", "first: run echo 1", "poweroff"]
    console = (stage / "out/console.log").read_bytes()
    assert b"live login:" in console and console.endswith(b"up again\r\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("assert 1 + 1 == 3, 'no sum'", "the script failed (AssertionError: no sum)"),
        ("machine.wait_for_console_text('up')\n    machine.wait_for_console_text('never', timeout=0.2)", "step 3"),
        ("machine.forward(80)", "the machine has no network"),
    ],
)
def test_a_failure_in_a_python_file_has_its_line(stage: Path, body: str, message: str) -> None:
    file = write_script(stage, body)
    with pytest.raises(StagewrightError) as caught:
        play(stage, BootScript(file=file, seconds=60), ["up\r\n", "stay"])
    assert message in caught.value.message
    assert caught.value.place == Place(file, 5 + body.count("\n"))


def test_keys_have_qemus_names() -> None:
    assert [key["data"] for key in keys_of("ctrl-alt-Delete")] == ["ctrl", "alt", "delete"]
    assert [[key["data"] for key in keys_of_character(one)] for one in "aA1!_ \n"] == [
        ["a"],
        ["shift", "a"],
        ["1"],
        ["shift", "1"],
        ["shift", "minus"],
        ["spc"],
        ["ret"],
    ]
    assert [key["data"] for key in keys_of_character("-")] == ["minus"]
    with pytest.raises(StagewrightError):
        keys_of_character("é")


def test_a_region_of_the_screen_has_the_digest_of_its_pixels(tmp_path: Path) -> None:
    one, other = tmp_path / "one.ppm", tmp_path / "other.ppm"
    one.write_bytes(b"P6\n3 2\n255\n" + b"aaabbbccc" + b"dddeeefff")
    other.write_bytes(b"P6\n2 2\n255\n" + b"bbbccc" + b"eeefff")
    assert digest(one, Region(1, 0, 2, 2)) == digest(other)
    assert digest(one) != digest(other)
    with pytest.raises(StagewrightError, match="not inside"):
        digest(one, Region(2, 0, 2, 1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('disk = "8"', "invalid value"),
        ('disk = "0G"', "invalid value"),
        ('disk = "8G"\ndisks = [{ size = "8G" }]', "exclude each other"),
        ('disks = [{ size = "8G", serial = "a b" }]', "invalid value"),
        ('disks = [{ size = "8G", bus = "floppy" }]', "bus"),
        ('disks = [{ serial = "a" }]', "size"),
    ],
)
def test_a_wrong_disk_is_reported(tmp_path: Path, settings: str, message: str) -> None:
    found = problems(tmp_path, f'[tests.t]\nboots = "iso"\nexpect = ["x"]\n{settings}\n')
    assert any(message in str(problem) for problem in found), found


@pytest.mark.slow
def test_a_machine_goes_on_from_its_disk_without_the_image(stage: Path, tmp_path: Path) -> None:
    image = tmp_path / "live.iso"
    image.touch()
    empty = (EmptyDisk(1 << 20), EmptyDisk(1 << 30, "data", DiskBus.SCSI))
    spec = MachineSpec(firmware="bios", cdrom=image, empty_disks=empty)
    steps = (Step(run="echo one"), Step(reboot="disk"), Step(wait="installed"), Step(crash=True), Step(start=True))
    scenes = (LOGIN, ["installed\r\n", "stay"], ["installed\r\n", "stay"])
    (stage / "out").mkdir()
    (stage / "out" / EMPTY).write_text("of another test", encoding="utf-8")
    report = play(stage, BootScript(login=ROOT, steps=(*steps, Step(wait="installed")), seconds=60), *scenes, spec=spec)
    assert [step.text for step in report.steps][3] == "reboot from disk"
    words = report.machine.command
    assert "live.iso" not in words
    assert f"format=qcow2,file={stage}/out/empty.qcow2" in words
    assert "scsi-hd,bus=disks.0,werror=report,id=disk2,drive=drive2,serial=data,bootindex=12" in words
    info = run(["qemu-img", "info", stage / "out/empty-2.qcow2"]).stdout
    assert "1 GiB" in info


@pytest.mark.slow
def test_a_machine_without_a_disk_cannot_go_on_from_it(stage: Path) -> None:
    file = write_script(stage, "machine.reboot(from_disk=True)")
    with pytest.raises(StagewrightError) as caught:
        play(stage, BootScript(file=file, seconds=60), ["up\r\n", "stay"])
    assert caught.value.reason is Reason.USAGE


MACHINES = '[tests.t]\nmachines = { server = { boots = "iso", network = true }, client = {} }\n'


def test_machines_on_a_network_are_a_test(tmp_path: Path) -> None:
    steps = '{ machine = "server", http = "http://:80/" }, { machine = "client", wait = "x" }'
    assert problems(tmp_path, f"{MACHINES}steps = [{steps}]\n") == []
    write_script(tmp_path, parameters="server: Machine, client: Machine, machines: object")
    assert problems(tmp_path, f'{MACHINES}script = "t.py"\n') == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MACHINES + 'steps = [{ wait = "x" }]', "must be one of the machines (found none)"),
        (MACHINES + 'steps = [{ wait = "x", machine = "clint" }]', "did you mean 'client'?"),
        (MACHINES + 'steps = [{ ssh = "x", machine = "client" }]', "add network = true to client"),
        (MACHINES + 'steps = [{ reboot = "disk", machine = "client" }]', 'add disk = "8G" to client'),
        (MACHINES, "checks nothing"),
        (
            '[tests.t]\nmachines = { client = {} }\nsteps = [{ wait = "x", machine = "client" }]',
            "no machine has an image",
        ),
        ('[tests.t]\nmachines = { "a b" = { boots = "iso" } }\nscript = "t.py"', "invalid name of a machine"),
        ('[tests.t]\nmachines = { class = { boots = "iso" } }\nscript = "t.py"', "invalid name of a machine"),
        ('[tests.t]\nmachines = { a = { boots = "isso" } }\nscript = "t.py"', "isso"),
    ],
)
def test_wrong_machines_are_reported(tmp_path: Path, text: str, message: str) -> None:
    write_script(tmp_path)
    found = problems(tmp_path, f"{text}\n")
    assert any(message in str(problem) for problem in found), found


@pytest.mark.slow
def test_the_machines_of_a_test_share_a_network(stage: Path) -> None:
    """The fake machines do not use it: each gets a card with another address, and a folder."""
    body = """server.wait_for_console_text("up")
    client.wait_for_console_text("up")
    server.block()
    server.crash()
    server.start()
    server.wait_for_console_text("again")
"""
    file = write_script(stage, body, "server: Machine, client: Machine")
    (stage / "scenes.json").write_text(
        json.dumps([["up", "stay"], ["up", "stay"], ["again", "stay"]]), encoding="utf-8"
    )
    setup = MachineSetup(BIOS, TCG, qemu=str(stage / "qemu-fake"))
    machines = {"server": setup, "client": setup}
    report = BootRun(machines, BootScript(file=file, seconds=60), stage / "out", "t").run()
    assert [machine.name for machine in report.machines] == ["server", "client"]
    for number, machine in enumerate(report.machines, 1):
        assert f"mac=52:54:00:00:01:0{number}" in machine.command
        assert machine.console == stage / "out" / machine.name / "console.log"
        assert machine.console.exists()
    assert {step.machine for step in report.steps} == {"server", "client"}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("tesseract") is None, reason="NOT TESTED: tesseract is not installed")
def test_text_on_the_screen_is_read() -> None:
    picture = Path(__file__).parents[3] / "docs/images/booted.png"
    assert re.search(r"login", text_of(picture))


@pytest.mark.skipif(shutil.which("tesseract") is not None, reason="tesseract is installed")
def test_without_tesseract_its_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        text_of(tmp_path / "x.png")
    assert caught.value.reason is Reason.MISSING_TOOL
