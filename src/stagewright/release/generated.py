"""Files that programs generate on every system, so that they belong to no package: caches, indexes and configuration.

They contain nothing that a licence could apply to, or only parts of files that have an owner.
"""

from __future__ import annotations

import re

_LIB = r"(?:/usr)?/lib(?:32|64|x32)?"

_PATTERNS = (
    # configuration and state
    r"/etc/.+",
    r"/(?:root|home)/(?:.+/)?\.keep[^/]*",
    r"/var/(?:cache|db|log|tmp|spool|empty)/.+",
    r"/var/lib/(?:portage|gentoo|dbus|misc|systemd|apt|dpkg|pam|ucf|python)/.+",
    r"(?:/.+)?/\.keep[^/]*",
    # indexes and caches
    r".*/__pycache__/[^/]+\.pyc",
    rf"{_LIB}/modules/[^/]+/modules\.[a-z.]+",
    rf"{_LIB}/locale/(?:locale-archive|C\.utf8/.+)",
    rf"{_LIB}(?:/[^/]+)?/gconv/gconv-modules\.cache",
    rf"{_LIB}(?:/[^/]+)?/gio/modules/giomodule\.cache",
    rf"{_LIB}(?:/[^/]+)?/gdk-pixbuf-[^/]+/[^/]+/loaders\.cache",
    rf"{_LIB}(?:/[^/]+)?/gtk-[^/]+/[^/]+/immodules\.cache",
    rf"{_LIB}/udev/hwdb\.bin",
    rf"{_LIB}/systemd/catalog/database",
    r"/usr/share/(?:.+/)?(?:icon-theme|mimeinfo)\.cache",
    r"/usr/share/mime/.+",
    r"/usr/share/info/dir",
    r"/usr/share/glib-2\.0/schemas/gschemas\.compiled",
    r"/usr/share/fonts/(?:.+/)?(?:fonts\.(?:dir|scale)|encodings\.dir|\.uuid)",
    r"/usr/share/(?:perl5?|sgml|xml)/(?:.+/)?(?:catalog|ParserDetails\.ini)",
    # parts of an initramfs that dracut or genkernel writes
    rf"{_LIB}/(?:dracut|initrd)[^/]*(?:/.+)?",
    r"/(?:usr/)?lib/dracut/.+",
    r"/(?:init|shutdown|\.profile|conf/.+|proc/.+|dev/.+|run/.+)",
    r"/early_cpio",
    # of Stagewright's own dracut modules
    r"(?:/usr)?/(?:s?bin|lib)/stagewright-[a-z.-]+",
    rf"{_LIB}/systemd/system/[^/]+\.d/stagewright-[a-z.-]+",
)

_GENERATED = re.compile("|".join(_PATTERNS))


def is_generated(path: str) -> bool:
    """Return True if programs generate the file with this path (absolute) in every system that has it."""
    return _GENERATED.fullmatch(path) is not None
