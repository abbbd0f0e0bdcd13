"""Facts of the building computer that must not reach a result, and the files that hide them from commands.

==================  ==================================================================================================
``/proc/cmdline``   empty. kernel-install(8), installkernel and dracut(8) would write the kernel arguments of the
                    building computer into boot entries and kernel images. They do not recognise the sandbox as a
                    chroot: ``/`` and ``/proc/1/root`` are the same there.
dracut.conf(5)      ``hostonly="no"`` for the whole build. Gentoo's default is ``yes``, for the drivers and devices of
                    the computer that runs dracut. Later files in ``/etc/dracut.conf.d`` win.
``/proc/cpuinfo``   visible: compilers ask the processor itself (cpuid) for ``-march=native``, so hiding the file would
                    hide nothing. ``stagewright check`` reports ``native`` in compiler flags.
``/proc/version``   visible: uname(2) returns the same, and no namespace changes it. Ebuilds of kernel modules read the
                    version of /usr/src/linux instead (linux-info.eclass).
==================  ==================================================================================================
"""

from __future__ import annotations

from pathlib import Path

_DATA = Path(__file__).with_name("data")

CMDLINE = _DATA / "cmdline"
"""The file that commands see as /proc/cmdline."""

DRACUT_CONF, DRACUT_PLACE = _DATA / "dracut.conf", "/etc/dracut.conf.d/05-stagewright.conf"
"""Settings of dracut for builds, and where dracut reads them: after Gentoo's 01-gentoo.conf."""
