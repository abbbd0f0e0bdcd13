"""Attacks from inside the sandbox. Each one succeeds with the command line of before, and fails with today's."""

from __future__ import annotations

import ctypes
import io
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyseccomp
import pytest
from boxes import PYTHON, SYSCALL, make_box, programs

from stagewright.errors import StagewrightError
from stagewright.interpreter import interpreter
from stagewright.root.download_sandbox import PLACE, bootstrapper
from stagewright.root.network import Service
from stagewright.root.sandbox import CAPABILITIES, Bind, run_host_program, unpacker
from stagewright.run import Process, run

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
    secret.write_text("of the host", encoding="utf-8")
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


def test_a_command_cannot_make_files_immutable(tmp_path: Path) -> None:
    box = make_box(tmp_path)
    if (said := box.python_old(IMMUTABLE)) != "immutable":
        pytest.skip(f"NOT TESTED: the file system has no immutable files ({said})")
    assert box.python(IMMUTABLE) == "EPERM"


ARRAY = "(2).to_bytes(4, 'little') + 2 * (4).to_bytes(4, 'little') + (1).to_bytes(4, 'little') + bytes(112)"
CPU_CLOCK = "b'\\1\\0\\0\\0\\x80\\0\\0\\0' + bytes(120), -1, 0, -1, 0"

ATTACKS = {
    "a key of user 0": ("keyctl", "0, -4, 0, 0, 0", "EPERM"),
    "a table for programs in the kernel": ("bpf", f"0, {ARRAY}, 128", "EPERM"),
    "all programs of a core": ("perf_event_open", CPU_CLOCK, "EPERM"),
    "a queue of calls": ("io_uring_setup", "4, bytes(120)", "ENOSYS"),
    "page faults": ("userfaultfd", "1", "EPERM"),
    "a user namespace": ("unshare", "0x10000000", "EPERM"),
    "the log of the kernel": ("syslog", "3, ctypes.create_string_buffer(64), 64", "EPERM"),
    "the host of a virtual machine": ("socket", "40, 1, 0", "EAFNOSUPPORT"),
    "ciphers of the kernel": ("socket", "38, 5, 0", "EAFNOSUPPORT"),
    "ciphers of the kernel, by an odd number": ("socket", "ctypes.c_long(38 | 1 << 32), 5, 0", "EAFNOSUPPORT"),
    "the memory of another process": ("process_vm_readv", "1, None, 0, None, 0, 0", "EPERM"),
    "raw packets": ("socket", "17, 3, 3", "EAFNOSUPPORT"),
    "the audit log": ("socket", "16, 3, 9", "EPROTONOSUPPORT"),
    "the parent of all": ("ptrace", "0x4206, 1, 0, 0", "EPERM"),
    "memory at address 0": ("personality", "0x100000", "EPERM"),
}


def test_system_calls_that_reach_out_of_the_root_are_refused(tmp_path: Path) -> None:
    machine = pyseccomp.system_arch()
    script = ""
    for call, arguments, _ in ATTACKS.values():
        number = pyseccomp.resolve_syscall(machine, call)
        script += f"if os.fork() == 0: print(syscall({number}, {arguments}), flush=True); os._exit(0)\nos.wait()\n"
    box = make_box(tmp_path)
    before, now = (dict(zip(ATTACKS, run(script).splitlines(), strict=True)) for run in (box.python_old, box.python))
    assert now == {name: refused for name, (_, _, refused) in ATTACKS.items()}
    succeeded = [name for name, result in before.items() if result.isdecimal()]
    if len(succeeded) <= 6:
        pytest.skip(f"NOT TESTED: this kernel refuses most attacks by itself: {before}")


CALL_32 = """
import mmap, struct
memory = mmap.mmap(-1, 4096, prot=7)
memory.write(b"\\x53\\x31\\xdb\\x31\\xc9\\xb8" + struct.pack("I", 425) + b"\\xcd\\x80\\x5b\\x48\\x98\\xc3")
call = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))
child = os.fork()
if child == 0:
    print(errno.errorcode.get(-call(), "?"), flush=True)
    os._exit(0)
if os.waitpid(child, 0)[1]:
    print("none")
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="NOT TESTED: needs an x86 processor")
def test_the_calls_of_32_bit_programs_are_filtered_too(tmp_path: Path) -> None:
    box = make_box(tmp_path)
    if (before := box.python_old(CALL_32)) != "EFAULT":  # io_uring_setup(0, NULL) by int 0x80
        pytest.skip(f"NOT TESTED: this kernel has no 32-bit calls ({before})")
    assert box.python(CALL_32) == "ENOSYS"


def test_ordinary_programs_run(tmp_path: Path) -> None:
    script = """
import subprocess, socket, threading
threading.Thread(target=lambda: print("thread")).start()
other = ["sh", "-c", "setpriv --reuid 65534 --clear-groups true && echo another user"]
print(subprocess.run(other, capture_output=True, text=True).stdout, end="", flush=True)
print(socket.create_server(("127.0.0.1", 0)).getsockname()[0], len(socket.socketpair()), flush=True)
if os.fork() == 0:
    print(libc.personality(0xFFFFFFFF), libc.ptrace(0, 0, 0, 0), libc.unshare(0x200), flush=True)
    os._exit(0)
os.wait()
"""
    assert make_box(tmp_path).python(script).splitlines() == ["thread", "another user", "127.0.0.1 2", "0 0 0"]


PROC = """
found = []
def attempt(path, flags):
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK))
        found.append(path)
    except OSError:
        pass
for name in ("kcore", "keys", "kmsg", "slabinfo", "timer_list"):
    attempt(f"/proc/{name}", os.O_RDONLY)
for folder, folders, files in os.walk("/proc"):
    folders[:] = [name for name in folders if not name.isdigit() and name not in ("self", "thread-self", "net")]
    for name in files:
        if not os.path.islink(f"{folder}/{name}") and os.lstat(f"{folder}/{name}").st_mode & 0o222:
            attempt(f"{folder}/{name}", os.O_WRONLY)
print(*found, sep=chr(10))
"""


def test_the_arguments_of_this_kernel_do_not_reach_a_build(tmp_path: Path) -> None:
    """installkernel and kernel-install(8) would write them into boot entries."""
    assert len(Path("/proc/cmdline").read_text(encoding="utf-8")) > 1
    assert make_box(tmp_path / "box").root.ask("/bin/cat", "/proc/cmdline") == "\n"


@pytest.mark.parametrize("target", ["../run/systemd/resolve/stub-resolv.conf", "../var/lib/dhcp/resolv.conf"])
def test_a_link_resolv_conf_does_not_keep_commands_from_the_network(tmp_path: Path, target: str) -> None:
    """The first link is the documented setup of systemd-resolved; its target exists on a running machine only."""
    box = make_box(tmp_path)
    (box.path / "etc/resolv.conf").symlink_to(target)
    said: list[str] = []
    box.root.run("/bin/cat", "/etc/resolv.conf", network=True, on_line=said.append)
    assert any(line.startswith("nameserver") for line in said)
    assert (box.path / "etc/resolv.conf").is_symlink()


def test_proc_neither_shows_nor_changes_the_machine(tmp_path: Path) -> None:
    box = make_box(tmp_path)
    before = box.python_old(PROC).splitlines()
    assert box.python(PROC) == ""
    if not {"/proc/kmsg", "/proc/slabinfo"} & set(before):
        pytest.skip(f"NOT TESTED: this machine shows nothing by itself: {before}")


def test_there_is_no_sys(tmp_path: Path) -> None:
    assert make_box(tmp_path).python("print(os.path.exists('/sys/kernel'))") == "False"


def test_an_archive_is_unpacked_under_the_same_limits(tmp_path: Path) -> None:
    script = "import ctypes; print(ctypes.CDLL(None).syscall(int(__import__('sys').argv[1]), 0, -4, 0, 0, 0))"
    keyctl = str(pyseccomp.resolve_syscall(pyseccomp.system_arch(), "keyctl"))
    with unpacker(tmp_path, "/mnt", [PYTHON, "-c", script, keyctl], binds=programs()) as sandboxed:
        assert run(sandboxed.words, pass_fds=sandboxed.descriptors).stdout.strip() == "-1"
    with unpacker(tmp_path, "/mnt", ["sed", "-n", "s/^CapPrm:.//p", "/proc/self/status"]) as sandboxed:
        found = int(run(sandboxed.words, pass_fds=sandboxed.descriptors).stdout, 16)
    assert 0 < found.bit_count() <= len(CAPABILITIES)


def test_an_archive_is_unpacked_without_files_and_processes_of_this_machine(tmp_path: Path) -> None:
    """A socket in /run accepts connections, also if its folder is mounted read-only."""
    script = "ls -d /run /var /root /home /etc/passwd /sys; ls -d /proc/[0-9]*; ls /dev"
    with unpacker(tmp_path, "/mnt", ["sh", "-c", f"({script}) 2>/dev/null; exit 0"]) as sandboxed:
        seen = run(sandboxed.words, pass_fds=sandboxed.descriptors).stdout.split()
    places = {name for name in seen if name.startswith("/")}
    assert {name for name in places if not name.startswith("/proc/")} == set()
    assert len(places) < 6
    assert "null" in seen
    assert not {"kmsg", "mem", "net", "fuse", "kvm"} & set(seen)


def test_a_program_on_files_of_others_sees_only_these(tmp_path: Path) -> None:
    """Links of a hostile tree lead nowhere, and a defect of the program changes nothing but its output."""
    tree, out, secret = tmp_path / "tree", tmp_path / "out", tmp_path / "secret"
    for folder in (tree, out):
        folder.mkdir()
    secret.write_text("host", encoding="utf-8")
    (tree / "link").symlink_to(secret)
    (tree / "file").write_text("tree", encoding="utf-8")
    script = f"cat {tree}/file > {out}/copy; cat {tree}/link {secret} || echo x > {tree}/file || echo x > {secret}"
    said = run_host_program(["sh", "-c", script], reads=[tree], writes=[out], check=False)
    assert (said.code, said.stdout) == (0, "")
    assert (out / "copy").read_text(encoding="utf-8") == "tree"
    assert (tree / "file").read_text(encoding="utf-8") == "tree"
    assert secret.read_text(encoding="utf-8") == "host"


def test_the_error_of_a_program_names_it_and_not_the_sandbox(tmp_path: Path) -> None:
    with pytest.raises(StagewrightError) as caught:
        run_host_program(["sh", "-c", "echo no >&2; exit 3"], reads=[tmp_path])
    assert caught.value.message == "sh: exit code 3"
    assert caught.value.detail.splitlines()[-1] == "no"


LEAVES_ITS_CHROOT = """
import os, sys
os.makedirs(sys.argv[1] + "/in")
os.chroot(sys.argv[1] + "/in")
for _ in range(20):
    os.chdir("..")  # the working directory is outside
os.chroot(".")
print(*(path for path in sys.argv[2:] if os.path.exists(path)))
"""


def bootstrapped(folder: Path, script: str, *arguments: str, services: list[Service] | None = None) -> list[str]:
    """The words that a Python script prints in the sandbox of a bootstrap."""
    words = [PYTHON, "-c", script, *arguments]
    with bootstrapper(folder, words, reads=[Path(sys.base_prefix)], services=services or []) as sandboxed:
        return run(sandboxed.words, pass_fds=sandboxed.descriptors).stdout.split()


def test_a_program_that_leaves_the_chroot_of_a_bootstrap_is_in_the_sandbox(tmp_path: Path) -> None:
    """Maintainer scripts of packages changed the caches of the store, which belong to ids of builds."""
    folder, secret = tmp_path / "bootstrap", tmp_path / "secret"
    folder.mkdir()
    secret.touch()
    places = [str(secret), "/etc/shadow", "/usr/bin/env"]
    before = run([PYTHON, "-c", LEAVES_ITS_CHROOT, folder / "plain", *places]).stdout.split()
    assert str(secret) in before, "the attack itself works"
    assert bootstrapped(folder, LEAVES_ITS_CHROOT, f"{PLACE}/tree", *places) == ["/usr/bin/env"]


@pytest.mark.parametrize("place", ["/mnt/mirror", "/media/disk/mirror", "/tmp/mirror", "/run/mirror", "/home/mirror"])
def test_a_package_source_of_this_machine_is_visible_wherever_it_is(tmp_path: Path, place: str) -> None:
    with bootstrapper(tmp_path, ["true"], reads=[Path(place)]) as sandboxed:
        words = sandboxed.words
    options = {"--bind": 2, "--dev-bind": 2, "--ro-bind": 2, "--ro-bind-try": 2, "--tmpfs": 1, "--dev": 1, "--proc": 1}
    mounts = [words[number + options[word]] for number, word in enumerate(words) if word in options]
    assert place in mounts
    covering = [one for one in mounts[mounts.index(place) + 1 :] if Path(place).is_relative_to(one)]
    assert not covering, "a later mount hides it"


RIGHTS = (
    SYSCALL
    + """
import socket
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapPrm")))
print(syscall(int(sys.argv[1]), 0, -4, 0, 0, 0))
for port in sys.argv[2:]:
    try:
        print("open" if socket.create_connection(("127.0.0.1", int(port)), 60) else "")
    except OSError:
        print("closed")
"""
)


def test_a_bootstrap_has_the_rights_and_the_network_of_a_fetch_step(tmp_path: Path) -> None:
    keyctl = pyseccomp.resolve_syscall(pyseccomp.system_arch(), "keyctl")
    with socket.create_server(("127.0.0.1", 0)) as named, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [server.getsockname()[1] for server in (named, other)]
        arguments = map(str, [keyctl, *ports])
        said = bootstrapped(tmp_path, RIGHTS, *arguments, services=[Service("127.0.0.1", ports[0])])
    assert 0 < int(said[0], 16).bit_count() <= len(CAPABILITIES)
    assert said[1:] == ["EPERM", "open", "closed"]


class FailingLog(io.StringIO):
    """A log that fails when the program speaks."""

    def write(self, text: str) -> int:
        if text == "started\n":
            raise InterruptedError
        return super().write(text)


def test_a_program_in_a_sandbox_is_ended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """unshare(1) ignores SIGTERM: an interrupted command waited until the time was over."""
    monkeypatch.setattr(Process.end, "__defaults__", (3600.0,))
    with pytest.raises(InterruptedError):
        run_host_program(["sh", "-c", "echo started; exec sleep 3600"], log=FailingLog())


ENDLESS = """
import sys
from stagewright.root.sandbox import run_host_program
run_host_program(["sh", "-c", "echo started; exec sleep " + sys.argv[1]], log=sys.stdout)
"""


def test_a_program_in_a_sandbox_ends_with_the_process_that_started_it() -> None:
    seconds = f"3600.{os.getpid()}"
    with subprocess.Popen([*interpreter(), "-c", ENDLESS, seconds], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        while (line := process.stdout.readline()) != "started\n":
            assert line
        process.kill()
        assert process.stdout.read() == ""  # at once, because the last process with the pipe has ended
    wanted = ["sleep", seconds]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (
        left := [path for path in Path("/proc").glob("[0-9]*/cmdline") if words_of(path) == wanted]
    ):
        time.sleep(0.05)
    assert not left


def words_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").split("\0")[:-1]
    except OSError:
        return []
