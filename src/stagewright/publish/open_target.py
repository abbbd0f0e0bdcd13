"""The target that a user names on the command line."""

from __future__ import annotations

import re
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.publish.folder import FolderTarget
from stagewright.publish.objects import ObjectTarget
from stagewright.publish.ssh import RsyncTarget, SftpTarget, SshHost
from stagewright.publish.target import Target, TargetOptions

REGISTRY = "oci://"
"""Beginning of the address of a registry, which needs other steps (``publish/registry.py``)."""


def open_target(word: str, options: TargetOptions) -> Target:
    """Return the target of a path or address. Connections are made on first use. Raises: USAGE for others."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", word)
    if scheme:
        word = scheme[1].lower() + word[scheme.end(1) :]
    elif "://" in word:
        hint = "name a folder, sftp://, rsync://, s3:// or oci://"
        raise StagewrightError(Reason.USAGE, f"{word}: not an address", hint=hint)
    match scheme[1].lower() if scheme else "":
        case "":
            return FolderTarget(Path(word).absolute())
        case "file":
            return FolderTarget(Path(word.removeprefix("file://")).absolute())
        case "sftp":
            return SftpTarget(SshHost.of(word, options))
        case "rsync" | "ssh":
            return RsyncTarget(SshHost.of(word, options))
        case "http" | "https":
            hint = "name a folder, sftp://, rsync://, s3:// or oci://"
            raise StagewrightError(Reason.USAGE, f"{word}: a web server does not accept uploads", hint=hint)
    return ObjectTarget.open(word, options)
