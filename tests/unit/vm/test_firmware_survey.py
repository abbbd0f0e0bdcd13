"""Broken firmware descriptors, each with its reason, and their corrections."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from descriptors import CODE, VARIABLES, content, describe, pair

from stagewright.cli.main import run
from stagewright.errors import Exit, Reason, StagewrightError
from stagewright.vm import firmware
from stagewright.vm.firmware_choice import choices, nvram_pairs
from stagewright.vm.firmware_fix import Fix, fixes, write_fix
from stagewright.vm.firmware_known import ENROLLED, SECURE, Pair
from stagewright.vm.firmware_problems import Cause
from stagewright.vm.firmware_survey import State, Wish, libvirt_choice, survey

Q35 = "pc-q35-7.2"
Change = Callable[[dict[str, Any], Path], None]


def without(*keys: str) -> Change:
    def change(document: dict[str, Any], _: Path) -> None:
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return change


def having(value: object, *keys: str) -> Change:
    def change(document: dict[str, Any], _: Path) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return change


def file(kind: str, head: bytes, pages: float) -> Change:
    """Replace code or variables by a file with this head and so many pages."""

    def change(document: dict[str, Any], folder: Path) -> None:
        path = folder / f".other-{kind}"
        path.write_bytes(head.ljust(round(pages * 4096), b"\xff")[: round(pages * 4096)])
        document["mapping"][kind]["filename"] = str(path)

    return change


QCOW2 = b"QFI\xfb" + bytes(20) + (12288).to_bytes(8, "big")

DOCUMENTS: dict[str, tuple[Cause, Change]] = {
    "no-interfaces": (Cause.MISSING_KEY, without("interface-types")),
    "empty-interfaces": (Cause.EMPTY_LIST, having([], "interface-types")),
    "odd-interface": (Cause.UNKNOWN_VALUE, having(["uefi2"], "interface-types")),
    "interfaces-as-text": (Cause.WRONG_TYPE, having("uefi", "interface-types")),
    "odd-device": (Cause.UNKNOWN_VALUE, having("rom", "mapping", "device")),
    "odd-mode": (Cause.UNKNOWN_VALUE, having("half", "mapping", "mode")),
    "no-template": (Cause.MISSING_KEY, without("mapping", "nvram-template")),
    "no-mapping": (Cause.MISSING_KEY, without("mapping")),
    "name-with-nul": (Cause.WRONG_TYPE, having("/a\0b", "mapping", "executable", "filename")),
    "name-with-surrogate": (Cause.WRONG_TYPE, having("/\ud800", "mapping", "executable", "filename")),
    "odd-format": (Cause.UNKNOWN_VALUE, having("vdi", "mapping", "executable", "format")),
    "relative": (Cause.RELATIVE_PATH, having("OVMF_CODE.fd", "mapping", "executable", "filename")),
    "no-machines": (Cause.NO_MACHINES, having([{"architecture": "x86_64", "machines": []}], "targets")),
    "no-targets": (Cause.NO_MACHINES, having([], "targets")),
    "odd-architecture": (Cause.UNKNOWN_VALUE, having([{"architecture": "amd64", "machines": ["pc"]}], "targets")),
    "targets-of-text": (Cause.WRONG_TYPE, having(["x86_64"], "targets")),
    "features-of-numbers": (Cause.WRONG_TYPE, having([1], "features")),
    "missing-code": (Cause.FILE_MISSING, having("/nonexistent/code.fd", "mapping", "executable", "filename")),
    "missing-variables": (Cause.FILE_MISSING, having("/nonexistent/v.fd", "mapping", "nvram-template", "filename")),
    "folder-as-code": (Cause.FILE_NOT_REGULAR, having("/usr", "mapping", "executable", "filename")),
    "empty-code": (Cause.FILE_EMPTY, file("executable", b"", 0)),
    "odd-size": (Cause.WRONG_SIZE, file("executable", CODE, 2.5)),
    "huge-code": (Cause.WRONG_SIZE, file("executable", CODE, 4096)),
    "qcow2-as-raw": (Cause.WRONG_FORMAT, file("executable", QCOW2, 3)),
    "raw-as-qcow2": (Cause.WRONG_FORMAT, having("qcow2", "mapping", "executable", "format")),
    "text-as-code": (Cause.NOT_FIRMWARE, file("executable", b"hello", 3)),
    "variables-as-code": (Cause.NOT_FIRMWARE, file("executable", VARIABLES, 3)),
    "code-as-variables": (Cause.NOT_VARIABLES, file("nvram-template", CODE, 1)),
    "other-build": (Cause.PAIR_MISMATCH, file("nvram-template", VARIABLES, 2)),
    "no-keys": (Cause.NO_KEYS, having(["secure-boot", "requires-smm", "enrolled-keys"], "features")),
}


def raw(text: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(text) and None


def link(path: Path) -> None:
    path.symlink_to("/nonexistent/descriptor")


FILES: dict[str, tuple[Cause, Callable[[Path], None]]] = {
    "cut": (Cause.BAD_JSON, raw(b'{"description": "x",')),
    "latin1": (Cause.NOT_UTF8, raw(b'{"description": "\xe9"}')),
    "a-list": (Cause.WRONG_TYPE, raw(b"[]")),
    "deep": (Cause.BAD_JSON, raw(b"[" * 100_000)),
    "long-number": (Cause.BAD_JSON, raw(b"9" * 10_000)),
    "twice": (Cause.DUPLICATE_KEY, raw(b'{"tags": [], "tags": []}')),
    "huge": (Cause.TOO_LARGE, raw(b" " * ((1 << 20) + 1))),
    "folder": (Cause.NOT_REGULAR, Path.mkdir),
    "fifo": (Cause.NOT_REGULAR, os.mkfifo),
    "dangling": (Cause.DANGLING_LINK, link),
    "loop": (Cause.LINK_LOOP, lambda path: path.symlink_to(path.name)),
}


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc"


@pytest.fixture
def user(tmp_path: Path) -> Path:
    return tmp_path / "user"


@pytest.fixture
def known(tmp_path: Path) -> list[Pair]:
    plain, keys = pair(tmp_path, "plain"), pair(tmp_path, "keys", keys=True)
    return [Pair("x86_64", *plain), Pair("x86_64", *plain, SECURE), Pair("x86_64", *keys, ENROLLED)]


def write_document(folder: Path, name: str) -> Path:
    code, variables = pair(folder, f".{name}")
    document = content(code, variables)
    DOCUMENTS[name][1](document, folder)
    path = folder / f"60-{name}-x86_64.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_broken_descriptor_is_reported_and_corrected(name: str, etc: Path, user: Path, known: list[Pair]) -> None:
    path = write_document(etc, name)
    (entry,) = survey([etc, user])
    assert (entry.path, entry.state) == (path, State.BROKEN)
    assert entry.problems[0].cause is DOCUMENTS[name][0]
    with pytest.raises(StagewrightError) as caught:
        firmware.find(Q35, folders=[etc, user], known=())
    assert entry.problems[0].text in caught.value.detail

    (fix,) = fixes([entry], [etc, user], user, known)
    assert fix.path == user / path.name
    write_fix(fix)
    features = entry.descriptor.features
    found = firmware.find(Q35, want=features, folders=[etc, user], known=())
    assert found.descriptor == fix.path
    assert [one.state for one in survey([etc, user])] == [State.USABLE, State.MASKED]


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_a_descriptor_is_reported(name: str, etc: Path, user: Path, known: list[Pair]) -> None:
    cause, write = FILES[name]
    path = etc / f"60-{name}-x86_64.json"
    write(path)
    (entry,) = survey([etc])
    assert (entry.state, entry.problems[0].cause) == (State.BROKEN, cause)
    (fix,) = fixes([entry], [etc, user], user, known)
    if cause in (Cause.NOT_REGULAR, Cause.DANGLING_LINK, Cause.LINK_LOOP):
        assert fix.path is None
        assert str(path) in fix.what
    else:
        write_fix(fix)
        assert firmware.find(Q35, folders=[etc, user], known=()).descriptor == user / path.name


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_descriptor_that_this_user_cannot_read_is_reported(tmp_path: Path) -> None:
    describe(tmp_path, "60-closed").chmod(0o600)
    tmp_path.chmod(0o755)
    program = (
        "import os, sys; from pathlib import Path; from stagewright.vm.firmware_descriptor import read_descriptor;"
        "os.setuid(65534);"
        "print(read_descriptor(Path(sys.argv[1])).problems[0].cause)"
    )
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        words = [sys.executable, "-c", program, f"/proc/self/fd/{folder}/60-closed.json"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, pass_fds=[folder])
    finally:
        os.close(folder)
    assert done.stdout.strip() == Cause.UNREADABLE, done.stderr


def test_more_specific_folders_mask(etc: Path, user: Path, tmp_path: Path) -> None:
    user.mkdir()
    describe(etc, "10-a")
    describe(etc, "20-b")
    describe(user, "10-a")
    (user / "20-b.json").touch()
    (user / "30-folder.json").mkdir()
    describe(etc, "30-folder")
    found = {str(one.path.relative_to(tmp_path)): one.state for one in survey([etc, user])}
    assert found == {
        "user/10-a.json": State.USABLE,
        "etc/10-a.json": State.MASKED,
        "user/20-b.json": State.MASK,
        "etc/20-b.json": State.MASKED,
        "user/30-folder.json": State.BROKEN,
        "etc/30-folder.json": State.USABLE,
    }
    assert [one.by for one in survey([etc, user]) if one.by] == [user / "10-a.json", user / "20-b.json"]


def test_libvirt_chooses_by_name_and_feature_and_stops_at_what_it_cannot_read(etc: Path) -> None:
    enrolled = describe(etc, "40-enrolled", "secure-boot", "enrolled-keys", "requires-smm")
    missing = describe(etc, "50-secure", "secure-boot", "requires-smm", missing=True)
    plain = describe(etc, "60-plain.bak")

    def choice(*has: str, no: str = "", machine: str = Q35) -> Path | None:
        wish = Wish("", frozenset(has), frozenset({no} if no else ()))
        found = libvirt_choice(survey([etc]), machine, "x86_64", wish)
        return found.path if found else None

    assert choice() == enrolled
    assert choice(no="secure-boot") == plain
    assert choice("secure-boot", no="enrolled-keys") == missing
    assert choice("amd-sev") is None
    assert choice(machine="virt-7.2") is None
    bad = etc / "99-bad.json"
    bad.write_text("{", encoding="utf-8")
    assert choice(no="secure-boot") == bad
    bad.unlink()
    bad.symlink_to("/nonexistent")
    assert choice() == bad
    made = [one for one in choices(survey([etc]), survey([etc])) if one.machine == "q35"]
    assert {one.wish.name: one.stagewright for one in made}["no demands"] == plain


def test_nvram_has_each_working_pair_once(etc: Path, known: list[Pair]) -> None:
    describe(etc, "60-plain")
    describe(etc, "70-gone", missing=True)
    own = f"{etc}/.60-plain.code.fd:{etc}/.60-plain.vars.fd"
    assert nvram_pairs(survey([etc]), known[:2]) == [own, f"{known[0].code}:{known[0].variables}"]


def test_a_correction_keeps_the_replaced_file_and_what_was_right(user: Path, known: list[Pair]) -> None:
    user.mkdir()
    path = describe(user, "60-mine", "secure-boot", "requires-smm", "amd-sev", missing=True, tags=["mine"])
    before = path.read_text(encoding="utf-8")
    (fix,) = fixes(survey([user]), [user], user, known)
    write_fix(fix)
    after = json.loads(path.read_text(encoding="utf-8"))
    assert after["mapping"]["executable"]["filename"] == str(known[1].code)
    assert after["features"] == ["requires-smm", "secure-boot"]  # the other build is not known to have amd-sev
    assert after["tags"] == ["mine"]
    assert (user / ".60-mine.json.broken").read_text(encoding="utf-8") == before
    assert not fixes(survey([user]), [user], user, known)


def test_firmware_without_a_replacement_is_disabled(etc: Path, user: Path, known: list[Pair]) -> None:
    describe(etc, "50-secure", "secure-boot", "requires-smm", missing=True)
    stateless = {"device": "flash", "mode": "stateless", "executable": {"filename": "/nonexistent", "format": "raw"}}
    describe(etc, "55-sev", mapping=stateless)
    (etc / "60-nothing.json").write_text("{}", encoding="utf-8")
    for fix in fixes(survey([etc, user]), [etc, user], user, known[:1]):
        assert not fix.text
        write_fix(fix)
    assert [one.state for one in survey([etc, user])] == [State.MASK, State.MASKED] * 3


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StagewrightError) as caught:
        write_fix(Fix(tmp_path, "", tmp_path / "file" / "60.json", "{}"))
    assert caught.value.reason is Reason.NOT_ROOT


def test_the_command_shows_fifteen_broken_descriptors_and_corrects_them(
    etc: Path, user: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(DOCUMENTS)[:15]
    paths = [write_document(etc, name) for name in names]
    words = ["firmware", "--folder", str(etc), "--folder", str(user)]
    assert run(words) == Exit.HOST
    said = capsys.readouterr().out
    for path in paths:
        assert f"BROKEN  {path}\n" in said
    assert "q35" in said
    assert "nvram = [" in said

    monkeypatch.setattr(sys, "stdin", open(os.devnull, encoding="utf-8"))  # noqa: SIM115
    assert run([*words, "--fix"]) == Exit.HOST
    said = capsys.readouterr()
    assert "nothing was written" in said.err
    assert not user.exists()

    assert run([*words, "--fix", "--yes", "--json"]) == Exit.OK
    data = json.loads(capsys.readouterr().out)
    assert sorted(data["written"]) == sorted(str(user / path.name) for path in paths)
    assert {row["state"] for row in data["descriptors"]} == {"broken"}
    assert run(words) == Exit.OK
    assert "BROKEN" not in capsys.readouterr().out
    assert run([*words, "--yes"]) == Exit.INVALID
    shutil.rmtree(user)


def test_firmware_of_this_computer_is_usable() -> None:
    assert firmware.find(Q35).code.is_file()
