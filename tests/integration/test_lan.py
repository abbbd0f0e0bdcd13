"""The network that machines are tested on: what a client of DHCP, DNS and TFTP finds there. Without a machine."""

from __future__ import annotations

import json
import os
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
busybox wget -q -O - http://192.0.2.7/got
"""
"""What a machine does that starts from the network, in a namespace of its own."""

NETWORK = """
import json, subprocess, sys
from pathlib import Path
from stagewright.netboot.dnsmasq import configuration
from stagewright.netboot.lan import SERVER, Lan, loopback

folder, client, said = sys.argv[1], sys.argv[2], []
loopback()
text = configuration(Path(folder), SERVER, "http://boot.example.org", proxy_dhcp=True, programs=["snponly.efi"])
with Lan("tap0", lambda event: said.append(event.text), boot_server=text, dhcp=["domain=x.test"], host="192.0.2.7"):
    words = ["unshare", "--net", "sh", "-c", client, "client", folder]
    machine = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    subprocess.run(["ip", "link", "add", "port", "type", "veth", "peer", "name", "machine"], check=True)
    subprocess.run(["ip", "link", "set", "port", "master", "lan", "up"], check=True)
    while Path(f"/proc/{machine.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
        pass
    subprocess.run(["ip", "link", "set", "machine", "netns", str(machine.pid)], check=True)
    heard, _ = machine.communicate("go\\n", timeout=60)
print(json.dumps({"client": heard, "said": said}))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: namespaces take root")
def test_a_client_finds_an_address_a_name_and_a_program(tmp_path: Path) -> None:
    script = tmp_path / "lease"
    script.write_text(
        '#!/bin/sh\necho "$1 $ip $domain $dns"\n[ "$1" != bound ] || ip address add "$ip/24" dev "$interface"\n'
        '[ "$1" != bound ] || ip route add default via "$router"\n'
    )
    script.chmod(0o755)
    (tmp_path / "snponly.efi").write_text("a program")
    tmp_path.chmod(0o755)
    words = ["unshare", "--net", sys.executable, "-c", NETWORK, tmp_path, CLIENT]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "bound 10.0.2.15 x.test 10.0.2.3" in found["client"]
    assert "Address: 10.0.2.2" in found["client"]
    assert "1 packets received" in found["client"] or "1 received" in found["client"]  # an address of the set's own
    assert (tmp_path / "got").read_text() == "a program"
    # the boot server hears machines that start from the network, and answers beside the DHCP server
    assert any("PXE(lan)" in line and "snponly.efi" in line for line in found["said"])
