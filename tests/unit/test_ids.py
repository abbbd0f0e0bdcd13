"""The user namespace of builds: the ids of results inside, an unprivileged user outside, and the way back."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from stagewright import id_ranges, ids
from stagewright.engine.doctor import _attributes
from stagewright.engine.worker import _as_error, isolated
from stagewright.errors import Reason, StagewrightError
from stagewright.id_ranges import DEFAULT_START, SIZE, IdRange, private_range
from stagewright.interpreter import interpreter
from stagewright.store.store import Store

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or ids.as_host_root(), reason="NOT TESTED: not root, or no user namespaces (stagewright doctor)"
)

HANDLE = """
import ctypes, os, sys
library = ctypes.CDLL(None, use_errno=True)
folder = os.open(sys.argv[1], os.O_RDONLY)
handle = ctypes.create_string_buffer(bytes.fromhex(sys.argv[2]))
file = library.open_by_handle_at(folder, handle, os.O_RDWR)
print(os.read(file, 99).decode() if file >= 0 else os.strerror(ctypes.get_errno()))
"""
"""Opens a file of the file system that a folder is on, by its handle: no path leads to it."""

AS_COMMAND = """
import sys
from stagewright.root.sandbox import commands_ids
from stagewright.run import run
words = ["bwrap", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--ro-bind", sys.argv[1], "/mnt"]
print(run([*words, *commands_ids(), "--", "python3", "-c", *sys.argv[2:]], check=False).stdout, end="")
"""
"""Runs a Python script with the ids of commands and all capabilities: only the user namespace holds it."""


def ask(words: list[str], *, private: bool = True) -> str:
    done = subprocess.run(isolated(words, private_ids=private), capture_output=True, text=True, check=False)
    return done.stdout or done.stderr


def worker(code: str, *arguments: str) -> str:
    return ask([*interpreter(), "-c", code, *arguments])


def handle_of(path: Path) -> str:
    """Return the handle of a file (name_to_handle_at(2)) in hexadecimal."""
    library = ctypes.CDLL(None, use_errno=True)
    handle, mount = ctypes.create_string_buffer(136), ctypes.c_int()
    ctypes.memmove(handle, (128).to_bytes(4, "little"), 4)
    if library.name_to_handle_at(-100, os.fsencode(path), handle, ctypes.byref(mount), 0):
        pytest.skip(f"NOT TESTED: no handles on this file system ({os.strerror(ctypes.get_errno())})")
    return handle.raw.hex()


@as_root
def test_root_of_a_build_cannot_open_files_of_the_host_by_their_handles(tmp_path: Path) -> None:
    """A folder of the host that a command sees gave it every file of the same file system."""
    secret, shown = tmp_path / "secret", tmp_path / "shown"
    secret.write_text("secret of the host", encoding="utf-8")
    secret.chmod(0o600)
    shown.mkdir()
    attack = [HANDLE, str(shown), handle_of(secret)]
    assert "secret of the host" in ask(["python3", "-c", *attack], private=False), "the attack itself works"
    said = worker(AS_COMMAND, str(shown), HANDLE, "/mnt", attack[2])
    assert said == "Operation not permitted\n"


ATTACKS = """
import ctypes, fcntl, json, os, struct, sys
library = ctypes.CDLL(None, use_errno=True)
SYSLOG, KEYCTL, PERF = (103, 250, 298) if os.uname().machine == "x86_64" else (116, 219, 241)

def the_log_of_the_kernel():
    return library.syscall(SYSLOG, 9, None, 0)

def a_device_node():
    made = library.mknod(b"/mnt/node", 0o20666, 0x103)
    os.path.exists("/mnt/node") and os.unlink("/mnt/node")
    return made

def a_key_of_root():
    return library.syscall(KEYCTL, 10, -4, b"user", sys.argv[1].encode(), 0)

def counters_of_all_processes():
    return library.syscall(PERF, struct.pack("IIQ", 1, 120, 0) + bytes(104), -1, 0, -1, 0)

def a_higher_priority():
    os.setpriority(os.PRIO_PROCESS, 0, -15)
    return 0

def a_namespace_of_the_host():
    return library.setns(os.open("/proc/1/ns/uts", os.O_RDONLY), 0)

def an_immutable_file():
    file = os.open("/mnt/immutable", os.O_RDONLY | os.O_CREAT)
    fcntl.ioctl(file, 0x40086602, struct.pack("q", 0x10))
    fcntl.ioctl(file, 0x40086602, struct.pack("q", 0))
    return 0

def problem(attack):
    try:
        return ctypes.get_errno() if attack() < 0 else 0
    except OSError as error:
        return error.errno

names = [name for name in list(globals()) if name.startswith(("a_", "an_", "the_", "counters_"))]
print(json.dumps({name.replace("_", " "): problem(globals()[name]) for name in names}))
"""
"""Tries to use rights over the whole machine, undoes the effects, and prints the error number of each attempt."""

NAMES = [line[4:-3].replace("_", " ") for line in ATTACKS.splitlines() if line.startswith("def ") and "()" in line]

ADD_KEY = """
import ctypes, os, sys
library = ctypes.CDLL(None)
ADD, KEYCTL = (248, 250) if os.uname().machine == "x86_64" else (217, 219)
key = library.syscall(ADD, b"user", sys.argv[1].encode(), b"secret", 6, -4)
library.syscall(KEYCTL, 15, key, 60)
"""
"""Adds a key to the keyring of the user, for one minute."""

WRITABLE = AS_COMMAND.replace("--ro-bind", "--bind")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, int]]:
    """The error numbers of all attacks: with the ids of this computer, and in the user namespace."""
    folder = tmp_path_factory.mktemp("attacks")
    folder.chmod(0o777)
    ask(["python3", "-c", ADD_KEY, str(folder)], private=False)
    found = []
    for private in (False, True):
        said = ask([*interpreter(), "-c", WRITABLE, str(folder), ATTACKS, str(folder)], private=private)
        found.append(json.loads(said))
        (folder / "immutable").unlink(missing_ok=True)
    return found


@as_root
@pytest.mark.parametrize("name", NAMES)
def test_root_of_a_build_may_not_what_root_of_the_computer_may(name: str, outcomes: list[dict[str, int]]) -> None:
    """The command has all capabilities and no filter of system calls, so the user namespace alone refuses it."""
    before, now = outcomes[0][name], outcomes[1][name]
    if before:
        pytest.skip(f"NOT TESTED: root of this computer may not do that either ({os.strerror(before)})")
    assert now in (errno.EPERM, errno.EACCES, errno.ENOKEY), os.strerror(now)


@as_root
def test_a_setuid_program_that_a_build_leaves_behind_does_not_belong_to_root(tmp_path: Path) -> None:
    code = "import os; open('/mnt/program', 'w').close(); os.chmod('/mnt/program', 0o4755)"
    tmp_path.chmod(0o777)
    for private, user in ((False, 0), (True, private_range().uid)):
        assert ask([*interpreter(), "-c", WRITABLE, str(tmp_path), code], private=private) == ""
        assert ((tmp_path / "program").stat().st_uid, (tmp_path / "program").stat().st_mode) == (user, 0o104755)
        (tmp_path / "program").unlink()


@as_root
def test_a_kernel_that_forbids_user_namespaces_is_reported() -> None:
    code = "from stagewright import ids; ids.enter()"
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    words = ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", *interpreter(), "-c", code]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    assert "user namespaces: not available (user.max_user_namespaces is 0)" in said


PACK = """
import hashlib, os, sys
from pathlib import Path
from stagewright.root.overlay import mount_overlay
from stagewright.run import run
from stagewright.seeds.unpack import unpack
folder = Path(sys.argv[1])
for name in ("tree", "upper", "root"):
    (folder / name).mkdir(parents=True)
scan = unpack(folder.parent / "seed.tar", folder / "tree", sys.stderr)
mount_overlay([folder / "tree"], folder / "upper", folder / "root")
(folder / "root/etc/new").touch()
for path in sorted([folder / "root", *(folder / "root").rglob("*")]):
    os.utime(path, (7, 7))
nodes = [word for node in scan.devices for word in ("-p", node.pseudo())]
words = ["mksquashfs", folder / "root", folder / "image", *nodes, "-noappend", "-no-progress", "-comp", "zstd"]
run(words, env={"SOURCE_DATE_EPOCH": "9"})
print(hashlib.sha256((folder / "image").read_bytes()).hexdigest())
"""
"""Makes a squashfs from a seed below a writable layer, and prints its digest."""


@pytest.mark.slow
@as_root
def test_the_squashfs_of_a_root_is_the_same_as_with_the_ids_of_this_computer(tmp_path: Path) -> None:
    """Owners, capabilities of files and device nodes: no id of the namespace reaches the image."""
    capability = bytes.fromhex("0100000200200000000000000000000000000000").decode()
    with tarfile.open(tmp_path / "seed.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, mode in (("etc", tarfile.DIRTYPE, 0o755), ("etc/ping", tarfile.REGTYPE, 0o4755)):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid = kind, mode, 7, 8
            info.pax_headers = {"SCHILY.xattr.security.capability": capability} if name == "etc/ping" else {}
            archive.addfile(info)
        node = tarfile.TarInfo("etc/console")
        node.type, node.mode, node.uid, node.devmajor, node.devminor = tarfile.CHRTYPE, 0o600, 5, 5, 1
        archive.addfile(node)
    digests = [
        ask([*interpreter(), "-c", PACK, str(tmp_path / str(private))], private=private) for private in (False, True)
    ]
    assert re.fullmatch(r"[0-9a-f]{64}\n", digests[0])
    assert digests[0] == digests[1]
    said = subprocess.run(["unsquashfs", "-lln", tmp_path / "True/image"], capture_output=True, text=True, check=True)
    assert re.search(r"^-rwsr-xr-x 7/8 .*/etc/ping$", said.stdout, re.MULTILINE)
    assert re.search(r"^crw------- 5/0 .*/etc/console$", said.stdout, re.MULTILINE)


@as_root
def test_a_command_has_no_rights_over_files_of_the_host(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (tmp_path / "secret").chmod(0o600)
    code = "import os; print(os.getuid(), os.stat('/mnt/secret').st_uid); open('/mnt/secret')"
    assert worker(AS_COMMAND, str(tmp_path), code) == "0 65534\n"
    assert worker("import sys; print(open(sys.argv[1]).read())", str(tmp_path / "secret")) == "secret\n"


@as_root
def test_owners_outside_and_inside(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from stagewright import ids
os.chdir(sys.argv[1])
for name in ("own", "given"):
    Path(name).touch()
os.chown("own", 7, 8)
ids.hand_over(Path("given"))
print(os.stat("theirs").st_uid, ids.outside(os.stat("theirs").st_uid))
"""
    (tmp_path / "theirs").touch()
    os.chown(tmp_path / "theirs", 1234, 5)
    assert worker(code, str(tmp_path)) == f"{SIZE + 1234} 1234\n"
    first = private_range()
    assert ((tmp_path / "own").stat().st_uid, (tmp_path / "own").stat().st_gid) == (first.uid + 7, first.gid + 8)
    assert (tmp_path / "given").stat().st_uid == 0


@as_root
def test_programs_of_the_host_with_the_setuid_bit_keep_the_rights_of_the_worker() -> None:
    """The owner of mount(8) is mapped: without no-new-privs it would run as that user, without capabilities."""
    assert ask(["sh", "-c", "mount -t tmpfs none /mnt && echo mounted"]) == "mounted\n"


def listed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    entries = [(name, int(start), int(count)) for name, start, count in (line.split(":") for line in text.split())]
    monkeypatch.setattr(id_ranges, "_entries", lambda file: iter(entries))
    monkeypatch.setattr(id_ranges, "_accounts", lambda file: iter([("root", 0), ("nobody", 65534), ("last", 600_000)]))
    monkeypatch.setattr(id_ranges, "_mapped", lambda what: [(0, (1 << 32) - 1)])


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("", DEFAULT_START),
        ("alice:100000:65536", DEFAULT_START),
        ("root:200000:65536", 200_000),
        ("root:200000:65536 stagewright:400000:65536", 400_000),
        ("stagewright:400000:1000", DEFAULT_START),
    ],
)
def test_the_range_of_root(monkeypatch: pytest.MonkeyPatch, text: str, first: int) -> None:
    listed(monkeypatch, text)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert private_range() == IdRange(first, first)


def test_the_range_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    listed(monkeypatch, "alice:100000:65536 4321:165536:65536")
    assert private_range() == IdRange(165_536, 165_536)
    listed(monkeypatch, "alice:100000:65536 4321:165536:100")
    with pytest.raises(StagewrightError) as caught:
        private_range()
    assert caught.value.reason is Reason.NOT_ROOT
    assert "--add-subuids 600001-665536 --add-subgids 600001-665536" in caught.value.hint


@pytest.mark.parametrize(
    ("user", "text", "found"),
    [
        (0, "root:100000:65536 alice:100000:65536", "alice has 100000 to 165535"),
        (0, "stagewright:200000:65536 alice:150000:65536", "alice has 150000 to 215535"),
        (0, "alice:1879100000:65536", "alice has 1879100000 to 1879165535"),
        (0, "stagewright:1:65536", "nobody in /etc/passwd has 65534"),
        (0, "stagewright:70000:65536", "ids below 100000"),
        (0, "stagewright:599000:65536", "last in /etc/passwd has 600000"),
        (4321, "alice:100000:65536 4321:165535:65536", "alice has 100000 to 165535"),
    ],
)
def test_ids_that_others_have_are_not_those_of_builds(
    monkeypatch: pytest.MonkeyPatch, user: int, text: str, found: str
) -> None:
    listed(monkeypatch, text)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with pytest.raises(StagewrightError) as caught:
        private_range()
    assert caught.value.reason is Reason.USAGE
    assert found in caught.value.message
    line = re.search(r"write (stagewright|4321):(\d+):65536 into /etc/subuid", caught.value.hint)
    assert line
    listed(monkeypatch, f"{line[1]}:{line[2]}:65536 alice:100000:65536")
    assert private_range().uid == int(line[2]), "the line of the hint works"


@pytest.mark.parametrize(
    ("mapped", "first"),
    [
        ([(0, (1 << 32) - 1)], DEFAULT_START),
        ([(0, 1_000_000_000)], 1_000_000_000 - SIZE),
        ([(0, 1), (1, 65536)], DEFAULT_START),
    ],
)
def test_root_of_a_container_uses_its_last_ids(
    monkeypatch: pytest.MonkeyPatch, mapped: list[tuple[int, int]], first: int
) -> None:
    """A container with few ids has no unused ones: the default stays, and is refused with a sentence."""
    listed(monkeypatch, "")
    monkeypatch.setattr(id_ranges, "_mapped", lambda what: mapped)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert private_range() == IdRange(first, first)


@as_root
def test_a_container_without_the_ids_is_named() -> None:
    code = "from stagewright import ids; ids.enter()"
    words = ["unshare", "--user", "--map-root-user", *interpreter(), "-c", code]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    assert "this container does not have them" in said


def test_the_user_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan asks for the mark of each layer, and the name can come from a server."""
    listed(monkeypatch, "4322:165536:65536")
    monkeypatch.setattr(os, "geteuid", lambda: 4322)
    monkeypatch.delenv(ids.SWITCH, raising=False)
    assert ids.mark() == "165536:165536"
    monkeypatch.setattr(id_ranges, "run", None)
    assert ids.mark() == "165536:165536"


def test_a_file_that_a_worker_may_not_open_is_named_with_its_owner_and_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir(mode=0o750)
    monkeypatch.setattr(ids, "is_private", lambda: True)
    monkeypatch.setattr(ids, "outside", lambda number, what="uid": 65534 if what == "gid" else number)
    problem = _as_error(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "shared/file")), tmp_path)
    assert problem.reason is Reason.MISSING_FILE
    assert f"{tmp_path}/shared: owner {os.getuid()}, group 65534 (not in the namespace of builds)" in problem.message
    assert problem.hint.endswith(f"chown -R USER:GROUP {tmp_path}/shared")


def test_a_store_without_user_attributes_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    check = _attributes(tmp_path)
    assert check is not None
    assert (check.name, check.fine) == ("overlayfs", False)
    assert "no user attributes (Operation not supported)" in check.found


def test_the_mark_distinguishes_the_ids_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ids.SWITCH, raising=False)
    private = ids.mark()
    with ids.switched_off():
        assert ids.mark() == "host"
        assert ids.enter() == []
    assert ids.mark() == private != "host"


CACHES_OF_A_WORKER = """
import sys
from pathlib import Path
from stagewright.store.digest_cache import DigestCache
from stagewright.store.store import Store
store = Store(Path(sys.argv[1]))
with DigestCache(store.cache("digests.db")):
    (store.cache("repos") / "md5-cache").mkdir(exist_ok=True)
"""


@as_root
def test_caches_that_a_worker_makes_belong_to_the_engine(tmp_path: Path) -> None:
    """An ordinary user's engine cannot write into folders and databases of the ids of builds."""
    folder = tmp_path / "store"
    Store(folder)
    shutil.rmtree(folder / "cache/repos")
    (folder / "cache/repos").mkdir()
    os.chown(folder / "cache/repos", private_range().uid, private_range().gid)  # by a former version
    assert worker(CACHES_OF_A_WORKER, str(folder)) == ""
    assert {path.stat().st_uid for path in (folder / "cache").iterdir()} == {os.geteuid()}
    assert (folder / "cache/repos/md5-cache").stat().st_uid == private_range().uid


ZOMBIES = """
import sys
from pathlib import Path
from stagewright.root.sandbox import unpacker
from stagewright.run import run
def zombies():
    found = [path.read_text().rpartition(")")[2].split()[0] for path in Path("/proc").glob("[0-9]*/stat")]
    return found.count("Z")
def command():
    with unpacker(Path(sys.argv[1]), "/mnt", ["true"]) as sandboxed:
        run(sandboxed.words, pass_fds=sandboxed.descriptors)
for _ in range(10):
    command()
for _ in range(100):
    if zombies() < 2:
        break
    command()
print(zombies() < 2)
"""


@as_root
def test_commands_of_a_worker_leave_no_zombies(tmp_path: Path) -> None:
    """bwrap ends before its process 1, which becomes a child of the worker."""
    assert worker(ZOMBIES, str(tmp_path)) == "True\n"


READS = """
import sys
from pathlib import Path
from stagewright.errors import StagewrightError
from stagewright.root.sandbox import check_readable
for path in map(Path, sys.argv[1:]):
    for whole in (False, True):
        try:
            check_readable(path, whole=whole)
            print("fine")
        except StagewrightError as error:
            print(f"{error.message}; {error.hint}")
"""


@as_root
def test_files_that_commands_cannot_read_are_named_before_they_fail(tmp_path: Path) -> None:
    """A umask of 077, or one closed file in a repository, would end in an error of Portage."""
    closed, mixed, fine = (tmp_path / name for name in ("closed", "mixed", "fine"))
    for folder in (closed, mixed, fine):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub/file").touch()
        (folder / "link").symlink_to("/nowhere")
    closed.chmod(0o700)
    (mixed / "sub/file").chmod(0o600)
    os.chown(fine / "sub/file", private_range().uid, private_range().gid)
    (fine / "sub/file").chmod(0o600)  # a build made it
    said = worker(READS, *map(str, (closed, mixed, fine))).splitlines()
    refused = "commands of a build cannot read it (mode 0{}); chmod -R go+rX {}"
    assert said[:2] == [f"{closed}: {refused.format(700, closed)}"] * 2
    assert said[2:4] == ["fine", f"{mixed / 'sub/file'}: {refused.format(600, mixed)}"]
    assert said[4:] == ["fine", "fine"]


BYTECODE = """
from stagewright.run import run
from stagewright.interpreter import interpreter
print(run([*interpreter(), "-c", "import sys; print(sys.dont_write_bytecode)"]).stdout, end="")
"""


@as_root
def test_python_programs_of_a_worker_write_no_bytecode() -> None:
    """It would belong to an id of builds, in folders of code that other users run."""
    assert worker(BYTECODE) == "True\n"
