"""The KVM probe with fake QEMU programs that work, crash, hang or fail because of KVM."""

import json
import time
from pathlib import Path

import pytest

from stagewright.arch import host_machine
from stagewright.errors import Reason, StagewrightError
from stagewright.vm import accel


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.touch()
    return path


def fake(tmp_path: Path, body: str) -> str:
    """Write a fake QEMU that records each start in ``calls``."""
    program = tmp_path / "qemu-fake"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{body}\n', encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def calls(tmp_path: Path) -> int:
    path = tmp_path / "calls"
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def test_kvm_is_used_if_the_guest_ran(tmp_path: Path, device: Path) -> None:
    found = accel.probe(fake(tmp_path, f"exit {accel.PROVEN}"), device=device)
    assert found.name == "kvm"
    assert found.arguments[:2] == ("-accel", "kvm")


@pytest.mark.parametrize("body", ["exit 0", "exit 1", "kill -ABRT $$"])
def test_a_failing_guest_falls_back_to_tcg_with_the_reason(tmp_path: Path, device: Path, body: str) -> None:
    said = "echo 'warning: some feature' >&2; echo 'error: failed to set MSR 0x10a' >&2\n"
    found = accel.probe(fake(tmp_path, said + body), device=device)
    assert found.name == "tcg"
    assert "failed to set MSR" in found.why


def test_internal_error_ends_the_probe_at_once(tmp_path: Path, device: Path) -> None:
    qemu = fake(tmp_path, "echo 'warning: x'; echo 'KVM internal error. Suberror: 1'; exec sleep 60")
    begin = time.monotonic()
    found = accel.probe(qemu, device=device, limit=30)
    assert time.monotonic() - begin < 10
    assert "KVM internal error" in found.why


def test_a_timeout_falls_back_to_tcg_and_is_not_cached(tmp_path: Path, device: Path) -> None:
    qemu, cache = fake(tmp_path, "exec sleep 60"), tmp_path / "cache" / "accel.json"
    assert accel.probe(qemu, device=device, cache=cache, limit=0.3).name == "tcg"
    assert not cache.exists()


def test_the_result_is_cached_until_qemu_changes(tmp_path: Path, device: Path) -> None:
    qemu, cache = fake(tmp_path, f"exit {accel.PROVEN}"), tmp_path / "cache" / "accel.json"
    first = accel.probe(qemu, device=device, cache=cache)
    assert accel.probe(qemu, device=device, cache=cache) == first
    assert calls(tmp_path) == 1
    time.sleep(0.01)
    qemu = fake(tmp_path, "exit 1")
    assert accel.probe(qemu, device=device, cache=cache).name == "tcg"
    assert calls(tmp_path) == 2
    assert len(json.loads(cache.read_text(encoding="utf-8"))) == 1


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "\0"])
def test_a_damaged_cache_is_ignored(tmp_path: Path, device: Path, content: str) -> None:
    cache = tmp_path / "accel.json"
    cache.write_text(content, encoding="utf-8")
    assert accel.probe(fake(tmp_path, f"exit {accel.PROVEN}"), device=device, cache=cache).name == "kvm"


def test_without_a_device_tcg_is_used(tmp_path: Path) -> None:
    found = accel.probe(fake(tmp_path, "exit 0"), device=tmp_path / "none")
    assert found.name == "tcg"
    assert calls(tmp_path) == 0


def test_a_missing_qemu_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        accel.probe(str(tmp_path / "none"))
    assert caught.value.reason is Reason.MISSING_TOOL


def test_sector_leaves_room_for_its_signature() -> None:
    assert len(accel.SECTOR) == 150


def test_emulated_arm_uses_the_fast_algorithm_for_signed_pointers() -> None:
    found = accel.of("aarch64")
    if host_machine().qemu != "aarch64":
        assert "emulated" in found.why
    assert found.name == "tcg"  # KVM is not probed on Arm
    assert found.arguments[-1] == "max,pauth-impdef=on"
