"""The initramfs keeps the network of a system that is read over it: dracut's module, with made-up mounts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stagewright.media import initramfs
from stagewright.media.initramfs import KEEP_NETWORK, DracutRun, InitramfsSettings

SCRIPT = Path(initramfs.__file__).parent / "network/keep-network.sh"


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
@pytest.mark.parametrize(
    ("mounts", "streamed", "kept"),
    [
        ("server:/folder /run/initramfs/live nfs4 ro 0 0", False, True),
        ("server:/folder /run/initramfs/live nfs ro 0 0", False, True),
        ("/dev/sr0 /run/initramfs/live iso9660 ro 0 0", True, True),
        ("/dev/sr0 /run/initramfs/live iso9660 ro 0 0", False, False),
    ],
)
def test_networkd_leaves_the_addresses_of_a_system_on_the_network(
    tmp_path: Path, shell: str, mounts: str, *, streamed: bool, kept: bool
) -> None:
    (tmp_path / "mounts").write_text(f"{mounts}\n", encoding="utf-8")
    run = tmp_path / "run"
    (run / "initramfs").mkdir(parents=True)
    if streamed:
        (run / "initramfs/stagewright-stream.connected").touch()
    text = SCRIPT.read_text(encoding="utf-8").replace("/run/", f"{run}/").replace("/proc", str(tmp_path))
    subprocess.run([*shell.split(), "-euc", text], check=True)
    found = [path.read_text(encoding="utf-8") for path in run.glob("systemd/system/systemd-networkd.service.d/*.conf")]
    assert found == ["[Service]\nKillSignal=SIGKILL\nSuccessExitStatus=SIGKILL\n"] * kept


def test_only_an_initramfs_with_a_network_has_the_module() -> None:
    run = DracutRun("6.1", "/out", Path("/out"), False, 1)
    assert KEEP_NETWORK in run.modules(InitramfsSettings())
    assert KEEP_NETWORK not in run.modules(InitramfsSettings(modules=["dmsquash-live"]))
