"""Attacks from inside the sandbox. Each one succeeds with the command line of before, and fails with today's."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from boxes import make_box

from stagewright.root.sandbox import CAPABILITIES, Bind

pytestmark = pytest.mark.real


def handle_of(path: Path) -> str:
    """The handle of a file (name_to_handle_at(2)) as hexadecimal digits."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(8 + 128)
    ctypes.c_uint.from_buffer(buffer).value = 128
    mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, str(path).encode(), buffer, ctypes.byref(mount), 0):
        pytest.skip(f"NOT TESTED: the file system of {path} has no file handles")
    return buffer.raw.hex()


OPEN_BY_HANDLE = """
handle = ctypes.create_string_buffer(bytes.fromhex(sys.argv[1]))
libc.open_by_handle_at.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
number = libc.open_by_handle_at(os.open("/shared", os.O_RDONLY), handle, os.O_RDONLY)
print(os.read(number, 64).decode() if number >= 0 else errno.errorcode[ctypes.get_errno()])
"""


def test_a_file_handle_does_not_lead_out_of_the_root(tmp_path: Path) -> None:
    secret, shared = tmp_path / "secret", tmp_path / "shared"
    shared.mkdir()
    secret.write_text("of the host")
    secret.chmod(0o600)
    box = make_box(tmp_path, [Bind(shared, "/shared")])
    assert box.python_old(OPEN_BY_HANDLE, handle_of(secret)) == "of the host"
    assert box.python(OPEN_BY_HANDLE, handle_of(secret)) == "EPERM"


CAPABILITIES_AFTER_EXEC = """
libc.prctl(28, 0, 0, 0, 0)  # PR_SET_SECUREBITS: a new program of uid 0 gets its capabilities
os.execv("/bin/sed", ["sed", "-n", "s/^CapPrm:.//p", "/proc/self/status"])
"""


def test_a_command_has_only_the_listed_capabilities(tmp_path: Path) -> None:
    box = make_box(tmp_path)
    before, now = (int(run(CAPABILITIES_AFTER_EXEC), 16) for run in (box.python_old, box.python))
    assert before & (1 << 2), "CAP_DAC_READ_SEARCH"
    assert 0 < now.bit_count() <= len(CAPABILITIES)
    assert not now & (1 << 2)


IMMUTABLE = """
import fcntl
open("/var/file", "w").close()
try:
    fcntl.ioctl(os.open("/var/file", os.O_RDONLY), 0x40086602, (0x10).to_bytes(8, "little"))
    print("immutable")
    fcntl.ioctl(os.open("/var/file", os.O_RDONLY), 0x40086602, (0).to_bytes(8, "little"))
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def test_a_command_cannot_make_files_that_nobody_can_remove(tmp_path: Path) -> None:
    box = make_box(tmp_path)
    if (said := box.python_old(IMMUTABLE)) != "immutable":
        pytest.skip(f"NOT TESTED: the file system has no immutable files ({said})")
    assert box.python(IMMUTABLE) == "EPERM"
