"""Programs of the host that kinds need, with the packages that install them."""

from __future__ import annotations

from stagewright.arch import Machine
from stagewright.lazy_dataclass import dataclass
from stagewright.root import emulation


@dataclass(frozen=True)
class Tool:
    """A program of the host, and the packages that install it (apt, Gentoo)."""

    program: str
    apt: str
    gentoo: str

    @property
    def remedy(self) -> str:
        """The hint for a program that is not installed."""
        return f"apt install {self.apt}, or emerge {self.gentoo}"


SANDBOX = Tool("bwrap", "bubblewrap", "sys-apps/bubblewrap")
FETCH_NETWORK = Tool("slirp4netns", "slirp4netns", "app-containers/slirp4netns")
TAR = Tool("tar", "tar", "app-arch/tar")
GNUPG = Tool("gpg", "gnupg", "app-crypt/gnupg")
ZSTD = Tool("zstd", "zstd", "app-arch/zstd")
QEMU = Tool("qemu-system-x86_64", "qemu-system-x86", "app-emulation/qemu[qemu_softmmu_targets_x86_64]")
MINISIGN = Tool("minisign", "minisign", "app-crypt/minisign")
SIGN = Tool("osslsigncode", "osslsigncode", "app-crypt/osslsigncode")
OPENSSL = Tool("openssl", "openssl", "dev-libs/openssl")
IMPLANTISOMD5 = Tool("implantisomd5", "isomd5sum", "app-cdr/isomd5sum")
QEMU_ARM64 = Tool("qemu-system-aarch64", "qemu-system-arm", "app-emulation/qemu[qemu_softmmu_targets_aarch64]")
DNSMASQ = Tool("dnsmasq", "dnsmasq-base", "net-dns/dnsmasq")
IPROUTE = Tool("ip", "iproute2", "sys-apps/iproute2")
NFS_SERVER = Tool("ganesha.nfsd", "nfs-ganesha-vfs", "nfs-ganesha (of an overlay)")
NBD_SERVER = Tool("nbdkit", "nbdkit", "sys-block/nbdkit")
NSPAWN = Tool("systemd-nspawn", "systemd-container", "sys-apps/systemd")


def emulator(machine: Machine) -> Tool:
    """Return QEMU's user emulation of a machine, with the name of its program on this computer."""
    program = emulation.find_emulator(machine)
    name = program.name if program else emulation.names(machine)[0]
    return Tool(name, "qemu-user-static", f"app-emulation/qemu[static-user,qemu_user_targets_{machine.qemu}]")
