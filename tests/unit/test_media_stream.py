"""dracut modules for network boot: their requirements, and the script of our module with real web servers."""

from __future__ import annotations

import functools
import http.server
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from roots import EPOCH, as_root, make_root

from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.features import KernelFeatures
from stagewright.media import netmodules
from stagewright.media.dracut_modules import add_module
from stagewright.media.initramfs import TOOLS, DracutRun, InitramfsSettings, missing_for_dracut
from stagewright.media.netmodules import NetModule
from stagewright.netboot.image_servers import NbdServer, NfsServer
from stagewright.netboot.serve import FileServer

SCRIPT = Path(netmodules.__file__).parent / "stream" / "stream-root.sh"

DRACUT = """
getarg() { :; }
info() { echo "info: $*"; }
warn() { echo "warn: $*"; }
die() { echo "die: $*"; exit 1; }
modprobe() { echo "modprobe $*"; echo "url $url"; echo "host $host"; exit 0; }
set -- eth0 "stagewright-stream:$URL"
. "$SCRIPT"
"""


def said(url: str) -> str:
    """Return the output of the script up to the loading of the driver."""
    env = {"URL": url, "SCRIPT": str(SCRIPT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["dash", "-c", DRACUT], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr.replace("curl: (63) Maximum file size exceeded", "").strip(), done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "image").write_bytes(b"hsqs" * 5000)
    return tmp_path


@pytest.fixture
def plain(folder: Path) -> Iterator[str]:
    """A web server without range requests: the one of the standard library."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def leading_away() -> Iterator[str]:
    """A web server that redirects."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", self.path.lstrip("/"))
            self.send_header("Content-Length", "0")
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_the_server_is_used_by_address_with_its_name_as_host(folder: Path) -> None:
    with FileServer(folder) as server:
        lines = said(f"http://localhost:{server.port}/a%20b/image").splitlines()
    assert f"url http://127.0.0.1:{server.port}/a%20b/image" in lines
    assert f"host localhost:{server.port}" in lines


@pytest.mark.slow
def test_a_redirect_is_followed_once(folder: Path, leading_away: str) -> None:
    with FileServer(folder) as server:
        place = f"http://127.0.0.1:{server.port}/a%20b/image"
        assert f"url {place}" in said(f"{leading_away}/{place}").splitlines()


@pytest.mark.slow
def test_a_server_without_ranges_is_reported_without_a_download(plain: str) -> None:
    text = said(f"{plain}/a%20b/image")
    assert "die: " in text
    assert "does not support range requests" in text
    assert "modprobe" not in text


def test_a_missing_image_is_reported(folder: Path) -> None:
    with FileServer(folder) as server:
        text = said(f"http://127.0.0.1:{server.port}/none")
    assert "answers 404" in text
    assert "modprobe" not in text


OUTLIVES = """
getarg() { :; }
info() { echo "info: $*"; }
die() { echo "die: $*"; exit 1; }
sed -e "s,^SOCKET=.*,SOCKET=$FOLDER/socket," -e "s,^CONNECTED=.*,CONNECTED=$FOLDER/connected," \\
    -e "s,^OVERCOMMIT=.*,OVERCOMMIT=$FOLDER/overcommit," \\
    -e "s,/dev/kmsg,$FOLDER/said,g" -e "s,^make_device$,," \\
    -e "s,^exec /sbin/dmsquash.*,exit 0," "$SCRIPT" > "$FOLDER/script"
nbd-client() { echo "$*" > "$FOLDER/client"; }
udevadm() { :; }
echo 0 > "$FOLDER/overcommit"
(set -- eth0 "stagewright-stream:$URL" && . "$FOLDER/script") || exit 9
sleep 1
qemu-img convert -O raw "nbd+unix:///?socket=$FOLDER/socket" "$FOLDER/copy"
cp "/proc/$(cat "$FOLDER/socket.pid")/cmdline" "$FOLDER/cmdline"
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nbdkit") is None, reason="NOT TESTED: nbdkit is not installed")
@as_root
def test_nbdkit_outlives_the_script_and_systemd_does_not_kill_it(folder: Path) -> None:
    """As in an initramfs: the script is a child of process 1 and ends, and nbdkit keeps running."""
    with FileServer(folder) as server:
        url = f"http://127.0.0.1:{server.port}/a%20b/image"
        env = {"URL": url, "SCRIPT": str(SCRIPT), "FOLDER": str(folder), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", OUTLIVES]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done
    assert (folder / "copy").read_bytes()[:20000] == b"hsqs" * 5000
    assert (folder / "cmdline").read_bytes().startswith(b"@nbdkit\0")
    assert "/dev/nbd0 -systemd-mark" in (folder / "client").read_text(encoding="utf-8")
    assert (folder / "overcommit").read_text(encoding="utf-8") == "0\n"


@pytest.mark.parametrize("url", ["https://server/image", "ftp://server/image", ""])
def test_unsupported_addresses_are_refused(url: str) -> None:
    assert "die: " in said(url)


def able(modules: set[str], builtin: set[str]) -> KernelFeatures:
    return KernelFeatures(None, frozenset(modules), frozenset(builtin))


@pytest.mark.parametrize(
    ("modules", "builtin", "inside", "missing"),
    [
        ({"nfs", "nfsv4"}, set(), {"nfs", "nfsv4"}, []),
        ({"nfs", "nfsv3", "nfsv4"}, set(), {"nfs"}, ["nfsv3", "nfsv4"]),
        (set(), {"nfs"}, set(), []),
        (set(), set(), set(), ["nfs"]),
    ],
)
def test_missing_drivers_are_found(modules: set[str], builtin: set[str], inside: set[str], missing: list[str]) -> None:
    assert NetModule.NFS.missing_drivers(able(modules, builtin), frozenset(inside)) == missing


def test_the_command_for_dracut_depends_on_the_modules_only() -> None:
    making = DracutRun("6.1", "/out", Path("/out"), False, 1)
    before = making.command(InitramfsSettings(drivers=["loop"]))
    assert "--install" not in before
    assert before[before.index("--drivers") + 1] == "loop"
    modules = ["dmsquash-live", "livenet", "nfs", "stagewright-stream"]
    words = making.command(InitramfsSettings(modules=modules, drivers=["loop"]))
    assert words[words.index("--drivers") + 1] == "loop nfs nfsv3 nfsv4 nbd"
    assert words[words.index("--install") + 1] == "basename"
    assert "--drivers" not in making.command(
        InitramfsSettings(modules=["dmsquash-live", "stagewright-stream"])
    )  # all there are


NETWORK = InitramfsSettings(modules=["dmsquash-live", "livenet", "stagewright-stream"])
PROGRAMS = [*TOOLS, *NetModule.STREAM.tools, "dracut", "sed"]


@as_root
def test_missing_programs_for_streaming_are_reported_with_their_packages(tmp_path: Path) -> None:
    texts = {f"usr/bin/{name}*": "" for name in PROGRAMS if name != "nbd-client"}
    root = make_root(tmp_path, texts)
    no_plugin, no_client = missing_for_dracut(NETWORK, root, "it")
    assert "plugin" in no_plugin.message
    assert "nbd-client (nbd-client or nbd)" in no_client.message
    assert '"livenet" and "stagewright-stream"' in no_client.hint
    for name in ("usr/bin/nbd-client", "usr/lib/x86_64-linux-gnu/nbdkit/plugins/nbdkit-curl-plugin.so"):
        (root.path / name).parent.mkdir(parents=True, exist_ok=True)
        (root.path / name).touch(mode=0o755)
    assert missing_for_dracut(NETWORK, root, "it") == []


@as_root
def test_missing_programs_for_nfs_are_reported_with_their_packages(tmp_path: Path) -> None:
    root = make_root(tmp_path, {f"usr/bin/{name}*": "" for name in [*TOOLS, *NetModule.LIVENET.tools, "dracut"]})
    (lack,) = missing_for_dracut(InitramfsSettings(modules=["dmsquash-live", "livenet", "nfs"]), root, "it")
    for name in ("rpcbind (rpcbind)", "mount.nfs (nfs-common or nfs-utils)", "rpc.statd"):
        assert name in lack.message


@as_root
def test_the_module_is_written_where_dracut_finds_it(tmp_path: Path) -> None:
    root = make_root(tmp_path, {"usr/lib/dracut/modules.d/99base/x": ""})
    add_module(root, "stream", "90stagewright-stream", EPOCH)
    folder = root.path / "usr/lib/dracut/modules.d/90stagewright-stream"
    assert {path.name for path in folder.iterdir()} == {"module-setup.sh", "parse-stream.sh", "stream-root.sh"}
    assert {(path.stat().st_mode & 0o777, path.stat().st_mtime) for path in folder.iterdir()} == {(0o755, EPOCH)}
    for path in folder.iterdir():
        subprocess.run(["bash", "-n", path], check=True)


def ended(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.skipif(shutil.which("nbdkit") is None, reason="NOT TESTED: nbdkit is not installed")
def test_an_image_is_served_by_nbd(folder: Path) -> None:
    with NbdServer(folder / "a b" / "image") as server:
        done = subprocess.run(
            ["qemu-img", "convert", "-O", "raw", server.url("127.0.0.1"), folder / "copy"],
            capture_output=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert (folder / "copy").read_bytes()[:20000] == b"hsqs" * 5000
    assert ended(server.port)


def test_a_file_that_cannot_be_served_is_reported(tmp_path: Path) -> None:
    if shutil.which("nbdkit") is None:
        pytest.skip("NOT TESTED: nbdkit is not installed")
    with pytest.raises(StagewrightError) as caught, NbdServer(tmp_path / "none"):
        pass
    assert (caught.value.reason, bool(caught.value.hint)) == (Reason.HOST_FEATURE, True)


@as_root
@pytest.mark.skipif(shutil.which("ganesha.nfsd") is None, reason="NOT TESTED: nfs-ganesha is not installed")
def test_a_folder_is_served_by_nfs(folder: Path, tmp_path: Path) -> None:
    """It answers a call of NFS version 4. In boot tests a kernel mounts it."""
    work = tmp_path / "work"
    work.mkdir()
    null = struct.pack(">11I", 0x80000028, 7, 0, 2, 100003, 4, 0, 0, 0, 0, 0)  # RFC 5531: a call of procedure 0
    with NfsServer(folder, work) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(null)
            answer = client.recv(64)
        assert server.url("10.0.2.2") == f"nfs:port={server.port}:10.0.2.2:/set"
    assert struct.unpack(">7I", answer[:28]) == (0x80000018, 7, 1, 0, 0, 0, 0)  # accepted, done
    assert ended(server.port)
