"""Small roots for tests of changes inside them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from stagewright.root.root import Root

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: changing a root directory needs root")
in_sandbox = pytest.mark.skipif(shutil.which("bwrap") is None, reason="NOT TESTED: no bubblewrap")

EPOCH = 20_000 * 86400

PASSWD = "root:x:0:0:root:/root:/bin/bash\nportage:x:250:250::/var/lib/portage:/sbin/nologin\n+::::::\n"
GROUP = "root:x:0:\nwheel:x:10:root\nportage:x:250:portage\nshadow:x:42:\nusers:x:100:\n"
SHADOW = "root:*:19000:0:99999:7:::\nportage:!:19000::::::\n"
GSHADOW = "root:*::\nwheel:*::root\nportage:!::\n"

Make = Callable[..., Root]


def make_root(path: Path, texts: Mapping[str, str] | None = None, *, links: Mapping[str, str] | None = None) -> Root:
    """Make a root with accounts, shells and these files; names that end with ``*`` are executable."""
    base = {
        "etc/passwd": PASSWD,
        "etc/group": GROUP,
        "etc/shadow": SHADOW,
        "etc/gshadow": GSHADOW,
        "etc/shells": "/bin/bash\n/bin/zsh\n",
        "etc/skel/.bashrc": "# hello\n",
        "etc/skel/.config/app.conf": "x\n",
        "bin/bash*": "",
        "sbin/nologin*": "",
    }
    for name, text in {**base, **(texts or {})}.items():
        file = path / name.rstrip("*")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(0o755 if name.endswith("*") else 0o644)
    for name, target in (links or {}).items():
        link = path / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    for name in ("etc/shadow", "etc/gshadow"):
        (path / name).chmod(0o640)
        os.chown(path / name, 0, 42)
    return Root(path, path)


def links_of(root: Root, folder: str) -> dict[str, str]:
    """Return all links below a folder of a root, with their targets."""
    base = root.path / folder
    return {str(path.relative_to(base)): str(path.readlink()) for path in sorted(base.rglob("*")) if path.is_symlink()}


def with_shell(root: Root) -> Root:
    """Put this machine's busybox into the root as shell and mkdir."""
    busybox = shutil.which("busybox") or next(Path("/var/cache").glob("stagewright*/layers/*/tree/bin/busybox"), None)
    if busybox is None:
        pytest.skip("NOT TESTED: no busybox to run a root's programs with")
    for name in ("sh", "mkdir"):
        shutil.copy(busybox, root.path / "bin" / name)
    for name in ("dev", "proc", "run", "tmp"):
        (root.path / name).mkdir(exist_ok=True)
    return root


def cpio(files: Mapping[str, bytes]) -> bytes:
    """Return an archive in the format of an initramfs, made by busybox's cpio."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        names = "\n".join(str(path.relative_to(folder)) for path in sorted(Path(folder).rglob("*")))
        command = ["busybox", "cpio", "-o", "-H", "newc"]
        return subprocess.run(command, cwd=folder, input=names.encode(), capture_output=True, check=True).stdout
