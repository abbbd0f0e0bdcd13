"""A small variant of examples/install, for `make install-matrix` and for a test: emulated machines start it quickly.

It has the same stages, settings and programs. The kernel is that of clouds, files that neither the installer nor the
installed system uses are removed, and services that the console does not need are masked.
"""

from __future__ import annotations

from pathlib import Path

from bench.matrix import ROOT, copy

EXAMPLE = ROOT / "examples" / "install"

SLOW = "no_timer_check loglevel=4 systemd.default_device_timeout_sec=600 systemd.show_status=no"
"""Kernel arguments of installed systems, for emulated machines."""

MASKED = (
    *(f"{name}.mount" for name in ("dev-hugepages", "dev-mqueue", "sys-kernel-debug", "sys-kernel-tracing")),
    *(f"{name}.mount" for name in ("sys-fs-fuse-connections", "sys-kernel-config")),
    *(f"modprobe@{name}.service" for name in ("configfs", "dm_mod", "efi_pstore", "fuse", "loop")),
    *(f"systemd-{name}.service" for name in ("update-utmp", "random-seed", "journal-flush", "logind", "resolved")),
    *(f"systemd-{name}.socket" for name in ("userdbd", "sysext", "creds", "mute-console", "hostnamed", "rfkill")),
    *("kmod-static-nodes.service", "systemd-timesyncd.service", "systemd-pcrphase-sysinit.service"),
    *("ssh.service", "sshd-keygen.service", "dbus.service", "dbus.socket", "getty@tty1.service", "timers.target"),
    *("lvm2-monitor.service", "lvm2-lvmpolld.socket", "dm-event.socket", "blk-availability.service"),
    *("mdmonitor.service", "e2scrub_reap.service"),
)
"""Units without which an emulated machine starts in half of the time."""

REMOVED = (
    *(f"/usr/share/{name}" for name in ("doc", "perl", "perl5", "bash-completion", "zsh", "vim", "i18n", "lintian")),
    *(f"/usr/share/{name}" for name in ("consolefonts", "consoletrans", "keymaps", "X11", "gcc", "grub", "dracut")),
    *(f"/usr/share/{name}" for name in ("pixmaps", "icons", "nano", "bug", "debconf", "mime", "binfmts", "nbd*")),
    *("/usr/share/misc", "/usr/share/hwdata", "/usr/share/file", "/usr/share/python3"),
    *("/usr/lib/dracut", "/usr/lib/grub", "/usr/lib/apt", "/usr/lib/udev/hwdb.bin", "/usr/lib/udev/hwdb.d"),
    *("/usr/lib/file", "/usr/lib/sysimage", "/usr/lib/git-core", "/usr/lib/ssl/misc", "/usr/lib/nbdkit"),
    *(f"/usr/lib/x86_64-linux-gnu/{name}" for name in ("*.a", "perl*", "gconv", "nbdkit", "libc[ck]*", "libasan*")),
    *(f"/usr/lib/x86_64-linux-gnu/{name}" for name in ("libtsan*", "libubsan*", "liblsan*", "libhwasan*", "sasl2")),
    *(f"/usr/lib/x86_64-linux-gnu/{name}" for name in ("libicu*", "libtorrent*", "*gprofng*", "libbfd*", "ldscripts")),
    *("/usr/lib/linux", "/usr/lib/x86_64-linux-gnu/libapt*", "/usr/lib/x86_64-linux-gnu/libisl*"),
    "/usr/lib/x86_64-linux-gnu/security/pam_systemd.so",  # there is no systemd-logind that it could ask
    *(f"/usr/bin/{name}" for name in ("perl*", "grub-*", "vim*", "rsync*", "nbdkit*", "apt*", "dpkg*")),
    *(f"/usr/sbin/{name}" for name in ("grub-*", "nbdkit*", "sshd")),
    *(f"/usr/lib/python3*/{name}" for name in ("idlelib", "lib2to3", "pydoc_data", "unittest", "ensurepip", "sqlite3")),
    *(f"/usr/lib/python3*/{name}" for name in ("test", "xmlrpc", "wsgiref", "tkinter", "turtledemo", "config-*")),
    *("/usr/lib/python3/dist-packages/portage", "/usr/lib/python3/dist-packages/_emerge"),
    *("/usr/local/lib", "/usr/lib/portage", "/usr/share/portage", "/var/db/repos", "/etc/portage"),
    *("/var/lib/dpkg", "/var/lib/apt", "/var/cache/*", "/var/log/*"),
)
"""Files of the example's live system that are removed in addition."""

_PACKED = """
[stages.packed]
kind = "tarball"
root = "live"
"""
"""The system as a tarball, which is a source of installations."""

_REST_OF_DRIVERS = "\t# end of the drivers of virtual machines\n"


def write_small(project: Path, seed: str = "") -> Path:
    """Write the variant into a new folder, and return it. ``seed`` is a text in place of the example's seed."""
    copy(EXAMPLE, project)
    file = project / "stagewright.toml"
    text = file.read_text(encoding="utf-8")
    text = _replaced(text, '"linux-image-amd64"', '"linux-image-cloud-amd64"', 1)
    while _REST_OF_DRIVERS in text:
        head, _, rest = text.partition(_REST_OF_DRIVERS)
        text = head + rest[rest.index("]\n") :]
    removed = "".join(f'\t"{pattern}",\n' for pattern in REMOVED)
    text = _replaced(text, '\t"/usr/share/man", ', f'{removed}\t"/usr/share/man", ', 1)
    text = _replaced(text, '\t"loglevel=4", ', '\t"systemd.show_status=no", "loglevel=4", ', 2)
    if seed:
        text = text[: text.index("[seeds.")] + seed + text[text.index("\n# The live system, which") :]
    file.write_text(text + _PACKED, encoding="utf-8")
    units = project / "overlay" / "etc/systemd/system"
    for name in MASKED:
        (units / name).unlink(missing_ok=True)
        (units / name).symlink_to("/dev/null")
    prepare = project / "prepare"
    script = _replaced(prepare.read_text(encoding="utf-8"), " ssh.service sshd-keygen.service\n", "\n", 1)
    lines = [line for line in script.splitlines(keepends=True) if "resolved.service" not in line]
    prepare.write_text("".join(lines), encoding="utf-8")
    return project


def _replaced(text: str, old: str, new: str, times: int) -> str:
    assert text.count(old) == times, (old, text.count(old))
    return text.replace(old, new)
