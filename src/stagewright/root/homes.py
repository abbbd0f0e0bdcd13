"""Home folders and SSH keys of users, made from inside a root."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from stagewright.root.accounts import PUBLIC_KEY, Accounts, Home
from stagewright.root.files import names_in
from stagewright.root.requirements import MissingRequirement
from stagewright.trees import Step, walk_tree
from stagewright.untrusted import is_plain, read_root_text

SKELETON = "/etc/skel"


def read_keys(name: str, text: str) -> tuple[tuple[str, ...], list[MissingRequirement]]:
    """Return the lines of a file of public keys, and its errors (sshd(8), AUTHORIZED_KEYS FILE FORMAT)."""
    hint = "use the file of the public key, which ends in .pub"
    if "PRIVATE KEY" in text:
        return (), [MissingRequirement(f"{name}: contains a private key", hint)]
    lines = tuple(line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))
    numbered = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip() in lines]
    bad = [number for number, line in numbered if not PUBLIC_KEY.search(line)]
    if bad or not lines:
        where = f"line {bad[0]} is not a public key" if bad else "contains no key"
        return (), [MissingRequirement(f"{name}: {where}", hint)]
    return lines, []


def apply_accounts(accounts: Accounts) -> None:
    """Write the tables and make the home folders, in the root that this process is in."""
    accounts.tables.write(accounts.epoch)
    for home in accounts.homes:
        if home.make and home.path not in ("/", "/dev/null"):
            _make(home, accounts.epoch)
        if home.keys:
            _authorize(home, accounts.epoch)


def _make(home: Home, epoch: int) -> None:
    if Path(home.path).is_dir() and not home.own:
        return
    if not Path(home.path).is_dir():
        Path(home.path).mkdir(parents=True)
    _give(home)
    Path(home.path).chmod(0o700)
    if Path(SKELETON).is_dir():
        _copy(SKELETON, home.path, home, epoch)


def _give(home: Home) -> None:
    """Give a home folder to its user, with files of an overlay in it."""
    for step in walk_tree(Path(os.path.realpath(home.path))):
        for name, info in (*_self(step), *((file.name, file.stat(follow_symlinks=False)) for file in step.files)):
            if info.st_uid == 0:
                os.chown(name, home.uid, home.gid, dir_fd=step.folder, follow_symlinks=False)
                if not stat.S_ISLNK(info.st_mode):
                    os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=step.folder)


def _self(step: Step) -> list[tuple[str, os.stat_result]]:
    return [] if step.left else [(".", os.fstat(step.folder))]


def _copy(source: str, target: str, home: Home, epoch: int) -> None:
    """Copy folders, files and links that the other folder lacks."""
    waiting = [(source, target)]
    while waiting:
        outer, place = waiting.pop()
        for name in names_in(outer):
            old, new = f"{outer}/{name}", f"{place}/{name}"
            if Path(old).is_dir() and not Path(old).is_symlink():
                if not os.path.lexists(new):
                    Path(new).mkdir()
                    shutil.copymode(old, new)
                    os.chown(new, home.uid, home.gid)
                if Path(new).is_dir() and not Path(new).is_symlink():
                    waiting.append((old, new))
            elif not os.path.lexists(new) and is_plain(old):
                shutil.copy(old, new, follow_symlinks=False)
                os.lchown(new, home.uid, home.gid)
                os.utime(new, (epoch, epoch), follow_symlinks=False)


def _authorize(home: Home, epoch: int) -> None:
    folder = f"{home.path}/.ssh"
    if not Path(folder).is_dir():
        Path(folder).mkdir(parents=True)
        os.chown(folder, home.uid, home.gid)
        Path(folder).chmod(0o700)
    path = f"{folder}/authorized_keys"
    old = []
    if Path(path).exists():
        old = read_root_text(path).splitlines()
    with Path(path).open("w", encoding="utf-8") as stream:
        stream.write("".join(f"{line}\n" for line in dict.fromkeys([*old, *home.keys])))
        os.fchown(stream.fileno(), home.uid, home.gid)
        os.fchmod(stream.fileno(), 0o600)
    os.utime(path, (epoch, epoch))
