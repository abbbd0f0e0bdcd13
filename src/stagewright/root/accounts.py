"""Groups and users of a root: the settings of a project, and the changes to the root.

The files are edited from inside the root (``root/passwd.py``); no program of the root is needed. If the project sets no
number, the first free one is used, in the order of the names: users and groups from 1000 up, those of the system from
999 down, as in login.defs(5). Existing accounts keep everything that the project does not set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from stagewright.graph.given import SecretInKey
from stagewright.project.fields import Matching, ProjectFile, Section
from stagewright.root.passwd import Tables, identifier
from stagewright.root.requirements import MissingRequirement
from stagewright.untrusted import read_root_text

DAY = 86400
SHELLS = ("/bin/bash", "/bin/sh")
NO_SHELLS = ("/sbin/nologin", "/usr/sbin/nologin", "/bin/false", "/usr/bin/false")

_HASH = re.compile(r"\$(?:y|gy|7|2[aby]|5|6)\$[./A-Za-z0-9$=,]{20,}")
_WORDS = {"locked": "!", "empty": ""}


def _check_password(value: str) -> str:
    """Return a hash or one of the two words. The error does not show the value, which may be a real password."""
    if value in _WORDS or _HASH.fullmatch(value):
        return value
    hint = "write the output of `openssl passwd -6` or `mkpasswd`; or a word: locked, empty (anyone may log in)"
    what = "an empty text" if not value else "neither a strong crypt(5) hash nor one of the words locked, empty"
    raise PydanticCustomError("password", "this is {what}", {"what": what, "hint": hint})


Password = Annotated[str, AfterValidator(_check_password), SecretInKey(frozenset(_WORDS))]
"""A crypt(5) hash ($y$, $gy$, $7$, $2b$, $6$, $5$), or `locked`, or `empty`."""

PUBLIC_KEY = re.compile(
    r"(?:^|\s)(?:sk-)?(?:ssh-(?:rsa|ed25519)|ecdsa-sha2-nistp\d+)(?:@openssh\.com)? AAAA[0-9A-Za-z+/]+=*"
)
"""A public key of ssh(1), which options may precede."""


def _check_public_key(value: str) -> str:
    """Return a public key or a path. The error does not show a private key."""
    if "PRIVATE KEY" in value:
        facts = {"hint": "write the public key: the line in the file that ends in .pub"}
        raise PydanticCustomError("public_key", "this is a private key", facts)
    if re.match(r"(sk-)?(ssh-|ecdsa-)\S+\s", value) and not PUBLIC_KEY.search(value):
        facts = {"hint": "copy the whole line of the file that ends in .pub"}
        raise PydanticCustomError("public_key", "not a complete public key", facts)
    return value


PublicKeys = Annotated[str, AfterValidator(_check_public_key), ProjectFile(folder=False, inline=PUBLIC_KEY.pattern)]
"""A public SSH key, such as ``ssh-ed25519 AAAA... larry``, or the path of a file with public keys."""

_ACCOUNT = r"[a-z_][a-z0-9_-]{0,30}\$?"

AccountName = Annotated[str, Matching(_ACCOUNT, "lower-case letters, digits, _ and -")]
"""The name of a user or a group, as useradd(8) accepts it."""

_OneOfGroups = Annotated[str, Matching(_ACCOUNT, 'each group as one text: ["wheel", "audio"]')]

Number = Annotated[int, Field(ge=0, le=4294967293)]
"""A uid or gid. The kernel reserves the two highest numbers."""

_Path = Annotated[str, Matching(r"/[^:\n]*", "a whole path, such as /home/larry")]
_Shell = Annotated[
    str, Matching(r"/[^:\n]*", "a whole path, such as /bin/bash", lambda text: f"/bin/{text}" if text.isalnum() else "")
]
_Comment = Annotated[str, Matching(r"[^:\n]*", "one line without a colon")]


class Group(Section):
    """A group to create or change."""

    gid: Number | None = None
    """The number (default: the first free one)."""
    system: bool = False
    """Use a number of the system range, below 1000."""


class User(Section):
    """A user to create or change. An existing user keeps everything that is not set here."""

    uid: Number | None = None
    """The number (default: the first free one)."""
    group: AccountName | None = None
    """The primary group, which must exist (default: a group with the name of the user, created if missing)."""
    groups: list[_OneOfGroups] = []
    """Other groups of the user: groups of this project or of the root."""
    comment: _Comment | None = None
    """The full name, or the purpose of the user."""
    home: _Path | None = None
    """The home folder (default: `/home/NAME`). It is a copy of /etc/skel with mode 0700."""
    shell: _Shell | None = None
    """The login shell (default: /bin/bash or /bin/sh; nologin for system users)."""
    password: Password | None = None
    """A crypt(5) hash; or `locked` (default for new users), or `empty` for live systems. Never plain text.
    Images of the root contain the hash: a reader of an image can try passwords."""
    authorized_keys: list[PublicKeys] = []
    """Public SSH keys, added to the user's ~/.ssh/authorized_keys: the keys, or names of files with keys."""
    system: bool = False
    """A system user: a number below 1000, no shell, and a home only if `home` is set."""


def check_numbers(kind: str, accounts: Mapping[str, Any]) -> None:
    """Raise PydanticCustomError if two accounts have the same number. ``kind`` is uid or gid."""
    seen: dict[int, str] = {}
    for name, account in accounts.items():
        number = getattr(account, kind, None)
        if number is None:
            continue
        if number in seen:
            facts = {"kind": kind, "number": number, "names": f"{seen[number]} and {name}", "hint": "change one"}
            raise PydanticCustomError("numbers", "{names} have the same {kind} {number}", facts)
        seen[number] = name


@dataclass
class Home:
    """A home folder to create, and public keys to install in it."""

    path: str
    uid: int
    gid: int
    make: bool
    own: bool  # True if files of an overlay in the folder get the owner of the home
    keys: tuple[str, ...] = ()


@dataclass
class Accounts:
    """Accounts of a project, applied to the tables of a root."""

    groups: Mapping[str, Group]
    users: Mapping[str, User]
    keys: Mapping[str, tuple[str, ...]]  # lines for authorized_keys, by user
    epoch: int
    tables: Tables
    homes: list[Home] = field(default_factory=list)
    missing: list[MissingRequirement] = field(default_factory=list)

    def plan(self) -> None:
        """Change the tables in memory, and collect missing requirements."""
        for name, group in sorted(self.groups.items()):
            self._group(name, group)
        for name, user in sorted(self.users.items()):
            self._user(name, user)
        for name, user in sorted(self.users.items()):  # after all groups of users exist
            for other in user.groups:
                if self._gid_of(name, other) is not None:
                    self.tables.join(name, other)

    def _group(self, name: str, group: Group) -> None:
        old = self.tables.group.get(name)
        if old is None:
            gid = self._number("gid", name, group.gid, system=group.system)
            self.tables.new_group(name, gid)
        elif group.gid is not None and old[2] != str(group.gid):
            self._other_number("group", name, "gid", old[2], group.gid)

    def _user(self, name: str, user: User) -> None:
        old = self.tables.passwd.get(name)
        row = self._new_user(name, user) if old is None else self._changed_user(old, user)
        if user.shell is not None and not os.access(user.shell, os.X_OK):
            shells = tuple(path for path in _shells() if os.access(path, os.X_OK))
            message = f"user {name}: there is no shell {user.shell}"
            self.missing.append(
                MissingRequirement(
                    message,
                    "add the package that brings it",
                    user.shell,
                    shells,
                    overlay=(user.shell.lstrip("/"),),
                    short=f"shell {user.shell}",
                )
            )
        word = None if user.password is None else _WORDS.get(user.password, user.password)
        self.tables.set_password(name, word, self.epoch // DAY)
        fresh = old is None and not user.system
        make = fresh or user.home is not None
        own = fresh and row[5].startswith("/home/")
        uid, gid = identifier(row[2]), identifier(row[3] or "0")
        self.homes.append(Home(row[5], uid, gid, make, own, self.keys.get(name, ())))

    def _new_user(self, name: str, user: User) -> list[str]:
        wanted = 0 if name == "root" and user.uid is None else user.uid
        uid = self._number("uid", name, wanted, system=user.system)
        if user.group is not None:
            gid = self._gid_of(name, user.group)
        else:
            own = self.tables.group.get(name)
            gid = identifier(own[2]) if own else self._number("gid", name, None, system=user.system, prefer=uid)
            if own is None:
                self.tables.new_group(name, gid)
        shells = NO_SHELLS if user.system else SHELLS
        shell = user.shell or next((path for path in shells if os.access(path, os.X_OK)), shells[-1])
        home = user.home or ("/root" if name == "root" else "/dev/null" if user.system else f"/home/{name}")
        return self.tables.passwd.add([name, "x", str(uid), str(gid or 0), user.comment or "", home, shell])

    def _changed_user(self, row: list[str], user: User) -> list[str]:
        if user.uid is not None and row[2] != str(user.uid):
            self._other_number("user", row[0], "uid", row[2], user.uid)
        gid = self._gid_of(row[0], user.group) if user.group is not None else None
        for column, value in ((3, gid), (4, user.comment), (5, user.home), (6, user.shell)):
            row[column] = row[column] if value is None else str(value)
        return row

    def _gid_of(self, user: str, group: str) -> int | None:
        row = self.tables.group.get(group)
        if row is None and not any(one.name == group for one in self.missing):
            message = f"user {user}: there is no group {group}"
            hint = f"make it by [groups.{group}], or add the package that brings it (acct-group/{group})"
            self.missing.append(
                MissingRequirement(
                    message, hint, group, self.tables.group.names(), overlay=("etc/group",), short=f"group {group}"
                )
            )
        return identifier(row[2]) if row else None

    def _number(self, kind: str, name: str, wanted: int | None, *, system: bool, prefer: int | None = None) -> int:
        table = self.tables.passwd if kind == "uid" else self.tables.group
        taken = table.numbers()
        if wanted is not None:
            if wanted in taken:
                message = f"{name}: the {kind} {wanted} belongs to {taken[wanted]}"
                self.missing.append(
                    MissingRequirement(message, f"choose another, or none for the first free {kind}", permanent=True)
                )
            return wanted
        accounts: Mapping[str, Any] = self.users if kind == "uid" else self.groups
        busy = {*taken, *(getattr(account, kind) for account in accounts.values())}
        numbers = range(999, 100, -1) if system else range(1000, 60000)
        if prefer is not None and prefer not in busy:
            return prefer
        return next(number for number in numbers if number not in busy)

    def _other_number(self, what: str, name: str, kind: str, old: str, new: int) -> None:
        message = f"the {what} {name} exists with the {kind} {old}, not {new}"
        hint = f"leave {kind} out, or set it to {old}: what is there belongs to that number"
        self.missing.append(MissingRequirement(message, hint, permanent=True))


def _shells() -> tuple[str, ...]:
    try:
        lines = read_root_text("/etc/shells", errors="replace").splitlines()
        found = [line.strip() for line in lines if line.startswith("/")]
    except FileNotFoundError:
        found = []
    return tuple(dict.fromkeys([*found, *SHELLS, *NO_SHELLS]))


def plan_accounts(
    groups: Mapping[str, Group], users: Mapping[str, User], keys: Mapping[str, tuple[str, ...]], epoch: int
) -> Accounts:
    """Return the changed tables of the root that this process is in. Nothing is written."""
    accounts = Accounts(groups, users, keys, epoch, Tables.read())
    accounts.plan()
    return accounts
