"""The network that machines are tested on: names, TFTP and the web, as a machine finds them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real

CLIENT = """
read go
ip link set lo up && ip link set machine up
ip address add 10.0.2.15/24 dev machine && ip route add default via 10.0.2.3
busybox nslookup boot.example.org 10.0.2.3
busybox tftp -g -r snponly.efi -l "$1/got" 10.0.2.2
busybox wget -q -O "$1/fetched" http://192.0.2.7/snponly.efi
"""
"""Commands of a machine that starts from the network, run in a separate namespace."""

NETWORK = """
import json, subprocess, sys
from pathlib import Path
from stagewright.netboot.dnsmasq import configuration
from stagewright.netboot.lan import SERVER, Lan, loopback
from stagewright.netboot.serve import FileServer

def do(words):
    subprocess.run(words.split(), check=True)

folder, client, said = sys.argv[1], sys.argv[2], []
loopback()
text = configuration(Path(folder), SERVER, "http://boot.example.org", proxy_dhcp=True, programs=["snponly.efi"])
with (
    Lan("tap0", lambda event: said.append(event.text), boot_server=text, host="192.0.2.7"),
    FileServer(Path(folder), "0.0.0.0", 80),
    subprocess.Popen(
        ["unshare", "--net", "sh", "-c", client, "client", folder],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as machine,
):
    do("ip link add port type veth peer name machine")
    do("ip link set port master lan up")
    while Path(f"/proc/{machine.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        pass
    do(f"ip link set machine netns {machine.pid}")
    heard, _ = machine.communicate("go\\n", timeout=60)
print(json.dumps({"client": heard, "said": said}))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: namespaces take root")
def test_a_machine_finds_names_programs_and_the_web(tmp_path: Path) -> None:
    (tmp_path / "snponly.efi").write_text("a program", encoding="utf-8")
    tmp_path.chmod(0o755)
    words = ["unshare", "--net", sys.executable, "-c", NETWORK, tmp_path, CLIENT]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "10.0.2.2" in found["client"].partition("boot.example.org")[2]
    assert (tmp_path / "got").read_text(encoding="utf-8") == "a program"  # TFTP, of the boot server
    assert (tmp_path / "fetched").read_text(encoding="utf-8") == "a program"  # by an address that is the set's own
    assert any("snponly.efi to 10.0.2.15" in line for line in found["said"])


SERVERS = """
import sys
from pathlib import Path
from stagewright.netboot.lan import loopback
from stagewright.netboot.image_servers import NbdServer, NfsServer

folder = Path(sys.argv[1])
loopback()
with NfsServer(folder / "set", folder) as nfs, NbdServer(folder / "set/image") as nbd:
    print(nfs.url("server"), nbd.url("server"))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: namespaces take root")
@pytest.mark.skipif(
    not (shutil.which("ganesha.nfsd") and shutil.which("nbdkit")), reason="NOT TESTED: no nfs-ganesha, no nbdkit"
)
def test_servers_of_images_start_where_there_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/image").write_bytes(bytes(4096))
    words = ["unshare", "--net", sys.executable, "-c", SERVERS, tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nfs:port=")
