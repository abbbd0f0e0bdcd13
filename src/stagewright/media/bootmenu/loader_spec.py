"""The entries of ``loader/entries/*.conf``, which systemd-boot and GRUB's ``blscfg`` show.

The format is the Boot Loader Specification's (UAPI.1), type 1.
"""

from __future__ import annotations

from stagewright.media.bootmenu.entry import LONGEST_FILE, FoundEntry, medium_path


def read_loader_spec(path: str, text: str) -> list[FoundEntry]:
    """Return the entry of a file; an empty list for one that starts an EFI program instead of Linux."""
    title = kernel = ""
    initrds: list[str] = []
    options: list[str] = []
    for line in text[:LONGEST_FILE].splitlines():
        key, _, value = line.strip().replace("\t", " ").partition(" ")
        value = value.strip()
        if key == "title":
            title = value
        elif key == "linux":
            kernel = medium_path(value)
        elif key == "initrd" and value:
            initrds.append(medium_path(value))
        elif key == "options":
            options.append(value)
    return [FoundEntry(path, title or path, kernel, tuple(initrds), " ".join(options))] if kernel else []
