"""Install the system of the CD on an empty disk by a file of answers, and look at it after a reboot from disk."""

from stagewright.testing import Machine

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7cM0nT1rZ5Yx8bCq0m3fV2sQ9dKp4uLwEo6hRtGyXa admin@example.org"

# As the CD has them, for emulated machines.
SLOW = "loglevel=4 systemd.default_device_timeout_sec=600 no_timer_check lsm=landlock,yama,apparmor,integrity"

ANSWERS = f"""
disk = /dev/disk/by-id/virtio-disk1
size = 8G
layout = ext4
hostname = box
timezone = UTC
network = dhcp
root-password = $6$stagewright$PpIEAUkJ5lZNggA0OoSLVz/WIlrrJhGWRTiJ9gWzpOC1u/GXkPtPT4rKUFDOvFEjd4OK4/BsVuz9TBMdwbijG0
root-ssh-key = {KEY}
user = alice
user.alice.groups = users
kernel-arguments = {SLOW}
"""


def test(machine: Machine) -> None:
    """Install, reboot from the disk, log in."""
    machine.wait_for_prompt()
    with machine.subtest("the live system"):
        assert "stagewright-install" in machine.succeed("cat /etc/motd")
        machine.wait_for_unit("ssh.service")
        assert machine.ssh("cat /etc/hostname") == "livecd\n"
        assert "virtio-disk1" in machine.succeed("stagewright-install --list")

    with machine.subtest("installation"):
        machine.succeed(f"cat > /tmp/answers << 'END'\n{ANSWERS}END")
        machine.succeed("stagewright-install --answers /tmp/answers")

    machine.reboot(from_disk=True)
    machine.login("root", "install")
    with machine.subtest("the installed system"):
        assert machine.succeed("findmnt --noheadings --output FSTYPE /") == "ext4"
        assert machine.succeed("cat /etc/hostname") == "box"
        assert machine.succeed("cat /root/.ssh/authorized_keys").splitlines()[0] == KEY
        assert "users" in machine.succeed("id --name --groups alice")
        assert machine.succeed("wc -c < /etc/machine-id") == "33"
        machine.wait_for_unit("ssh.service")
        machine.ssh("test -d /run/systemd/system")
    machine.shutdown()
