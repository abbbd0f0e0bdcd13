"""Compilation of configured kernel sources, with make or genkernel(8)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from stagewright.chroot import inside
from stagewright.errors import Reason, StagewrightError
from stagewright.kernel.configure import CONFIG_INSIDE, Configuration, KernelSources
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind

_OVERLAY = "/tmp/stagewright-initramfs"


def build_with_make(root: Root, sources: KernelSources, configuration: Configuration) -> str:
    """Compile and install a configured kernel with its modules inside the root. Return its version."""
    tree, make = sources.tree, sources.make
    root.run(*sources.compile, env=sources.env)
    version = root.ask(*make, "--silent", "--no-print-directory", "kernelrelease").split()[-1]
    image = root.ask(*make, "--silent", "--no-print-directory", "image_name").split()[-1]
    if "MODULES" in configuration.options:
        root.run(*make, "INSTALL_MOD_STRIP=1", "modules_install", env=sources.env)
    root.run("mkdir", "-p", f"/lib/modules/{version}", "/boot")
    root.run("cp", f"{tree}/{image}", f"/boot/vmlinuz-{version}")
    root.run("cp", f"{tree}/.config", f"/boot/config-{version}")
    for name in ("modules.builtin", "modules.order"):  # depmod reads them; a kernel without modules installs neither
        if not files.exists(root.path, f"/lib/modules/{version}/{name}"):
            files.write_file(root.path, f"/lib/modules/{version}/{name}", "", epoch=sources.epoch)
    return version


def build_with_genkernel(root: Root, sources: KernelSources, arguments: Sequence[str], overlay: Path | None) -> str:
    """Build a kernel, its modules and its initramfs with genkernel(8) inside the root. Return the kernel's version.

    ``overlay`` is a folder whose files genkernel adds to the initramfs. genkernel does not rebuild packages with
    modules: Stagewright does this afterwards, when their sources are fetched. Raises ``BUILD_FAILED`` if genkernel
    did not install exactly one new kernel.
    """
    words = ["genkernel", "--no-color", "--no-mountboot", "--no-menuconfig", "--no-module-rebuild"]
    words += [f"--kerneldir={sources.tree}"]
    words += [f"--makeopts=-j{sources.jobs}", "--kernel-filename=vmlinuz-%%KV%%"]
    words += ["--initramfs-filename=initramfs-%%KV%%.img", "--systemmap-filename=System.map-%%KV%%"]
    # Without --mrproper genkernel prefers the .config in the sources to --kernel-config.
    words += ["--mrproper", f"--kernel-config={CONFIG_INSIDE}"] if sources.config else []
    words += [f"--kernel-append-localversion=-{sources.extraversion}"] if sources.extraversion else []
    words += [f"--initramfs-overlay={_OVERLAY}"] if overlay else []
    before = set(inside(root.path, _versions))
    binds = [*sources.binds, *([Bind(overlay, _OVERLAY, whole=True)] if overlay else [])]
    root.run(*words, *arguments, "all", binds=binds, env=sources.env)
    new = sorted(set(inside(root.path, _versions)) - before)
    if len(new) != 1:
        raise StagewrightError(
            Reason.BUILD_FAILED,
            f"genkernel must install one new kernel with an initramfs in /boot (found: {', '.join(new) or 'none'})",
            hint="read genkernel's messages in the log; kernels that were there before do not count",
        )
    return new[0]


def _versions() -> list[str]:
    """Return the versions for which /boot has an initramfs by genkernel."""
    found = (re.fullmatch(r"initramfs-(.+)\.img", name) for name in files.names_in("/boot"))
    return [match[1] for match in found if match]
