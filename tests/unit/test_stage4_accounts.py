"""Groups and users: what is made, what stays, and what is refused."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from roots import EPOCH, GROUP, GSHADOW, PASSWD, SHADOW, as_root, make_root

from stagewright.chroot import inside
from stagewright.kinds.stages.stage4 import Stage4
from stagewright.root.accounts import Accounts, Group, User, plan_accounts
from stagewright.root.homes import apply_accounts, read_keys
from stagewright.root.root import Root

HASH = "$6$saltsalt$" + "a" * 86
YESCRYPT = "$y$j9T$IN3b3.x7Of9ZKMtBAuS4l1$ZrbhLNwbPYSMKHhMpkDvJcQPmCHaHu/nbeVWnVF5qS4"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ larry@farm"


def plan(root: Root, users: dict[str, dict[str, Any]], groups: dict[str, dict[str, Any]] | None = None) -> Accounts:
    models = {name: User(**values) for name, values in users.items()}
    keys = {name: (KEY,) for name, values in users.items() if values.get("authorized_keys")}
    asked = {name: Group(**values) for name, values in (groups or {}).items()}
    return inside(root.path, plan_accounts, asked, models, keys, EPOCH)


def apply(root: Root, *args: Any) -> None:
    accounts = plan(root, *args)
    assert accounts.missing == []
    inside(root.path, apply_accounts, accounts)


def row(root: Root, table: str, name: str) -> list[str]:
    lines = (root.path / "etc" / table).read_text(encoding="utf-8").splitlines()
    (found,) = [line for line in lines if line.split(":")[0] == name]
    return found.split(":")


def owner(path: Path) -> tuple[int, int, int]:
    info = path.lstat()
    return info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)


@as_root
def test_a_new_user(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    apply(
        root,
        {"larry": {"groups": ["wheel", "media"], "comment": "Larry the Cow", "authorized_keys": ["larry.pub"]}},
        {"media": {}},
    )
    assert row(root, "passwd", "larry") == ["larry", "x", "1000", "1001", "Larry the Cow", "/home/larry", "/bin/bash"]
    assert row(root, "group", "larry") == ["larry", "x", "1001", ""]
    assert row(root, "group", "media") == ["media", "x", "1000", "larry"]
    assert row(root, "group", "wheel") == ["wheel", "x", "10", "root,larry"]
    assert row(root, "gshadow", "wheel") == ["wheel", "*", "", "root,larry"]
    assert row(root, "gshadow", "larry") == ["larry", "!", "", ""]
    assert row(root, "shadow", "larry") == ["larry", "!", "20000", "0", "99999", "7", "", "", ""]
    home = tmp_path / "home/larry"
    assert owner(home) == (1000, 1001, 0o700)
    assert owner(home / ".bashrc") == (1000, 1001, 0o644)
    assert owner(home / ".config/app.conf") == (1000, 1001, 0o644)
    assert owner(home / ".ssh") == (1000, 1001, 0o700)
    assert owner(home / ".ssh/authorized_keys") == (1000, 1001, 0o600)
    assert (home / ".ssh/authorized_keys").read_text(encoding="utf-8") == KEY + "\n"
    assert (home / ".bashrc").stat().st_mtime == EPOCH


@as_root
def test_what_is_not_touched_stays(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    apply(root, {"larry": {}})
    for name, text, mode, group in (
        ("passwd", PASSWD, 0o644, 0),
        ("group", GROUP, 0o644, 0),
        ("shadow", SHADOW, 0o640, 42),
        ("gshadow", GSHADOW, 0o640, 42),
    ):
        file = tmp_path / "etc" / name
        assert file.read_text(encoding="utf-8").startswith(text)
        assert owner(file) == (0, group, mode)
        assert file.read_text(encoding="utf-8").count("\n") == text.count("\n") + 1
    assert sorted(path.name for path in (tmp_path / "etc").iterdir() if path.is_file()) == sorted(
        ["passwd", "group", "shadow", "gshadow", "shells"]
    )


@as_root
def test_once_more_changes_nothing(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    users: dict[str, dict[str, Any]] = {"larry": {"groups": ["wheel"], "authorized_keys": ["k"], "password": HASH}}
    apply(root, users)
    before = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()}
    apply(root, users)
    assert {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()} == before


@as_root
def test_an_old_user_keeps_what_is_not_set(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    apply(
        root,
        {"portage": {"comment": "builder", "groups": ["wheel"]}, "root": {"password": HASH, "authorized_keys": ["k"]}},
    )
    assert row(root, "passwd", "portage") == [
        "portage",
        "x",
        "250",
        "250",
        "builder",
        "/var/lib/portage",
        "/sbin/nologin",
    ]
    assert row(root, "shadow", "portage")[:3] == ["portage", "!", "19000"]
    assert row(root, "shadow", "root")[:3] == ["root", HASH, "20000"]
    assert owner(tmp_path / "root/.ssh/authorized_keys") == (0, 0, 0o600)
    assert not (tmp_path / "var/lib/portage").exists()


@as_root
def test_numbers(tmp_path: Path) -> None:
    """The first free ones by name; those that the project names are kept free for their owners."""
    root = make_root(tmp_path)
    users: dict[str, dict[str, Any]] = {
        "bob": {},
        "alice": {},
        "carol": {"uid": 1000, "group": "users"},
        "daemon": {"system": True},
        "service": {"system": True, "home": "/srv/service"},
    }
    apply(root, users, {"games": {"system": True}, "media": {"gid": 1002}})
    numbers = {name: row(root, "passwd", name)[2:4] for name in users}
    assert numbers["carol"] == ["1000", "100"]
    assert numbers["alice"] == ["1001", "1001"]
    assert numbers["bob"] == ["1002", "1000"]  # gid 1002 is taken
    assert row(root, "group", "games")[2] == "999"
    assert numbers["daemon"][0] == "999"
    assert numbers["daemon"][1] == "998"
    assert row(root, "passwd", "daemon")[5:] == ["/dev/null", "/sbin/nologin"]
    assert (tmp_path / "srv/service").is_dir()
    assert not (tmp_path / "home/daemon").exists()


@as_root
def test_a_home_that_an_overlay_brought(tmp_path: Path) -> None:
    root = make_root(tmp_path, {"home/larry/.bashrc": "mine\n", "home/larry/bin/run*": "", "srv/data/file": ""})
    apply(root, {"larry": {}, "other": {"home": "/srv/data"}})
    assert (tmp_path / "home/larry/.bashrc").read_text(encoding="utf-8") == "mine\n"
    assert owner(tmp_path / "home/larry/.bashrc")[:2] == (1000, 1000)
    assert owner(tmp_path / "home/larry/bin/run") == (1000, 1000, 0o755)
    assert owner(tmp_path / "home/larry") == (1000, 1000, 0o700)
    assert owner(tmp_path / "srv/data/file")[:2] == (0, 0)  # not below /home, so it stays unchanged


@as_root
def test_a_root_without_accounts(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    for name in ("passwd", "group", "shadow", "gshadow"):
        (tmp_path / "etc" / name).unlink()
    apply(root, {"root": {"password": "empty"}})
    assert (tmp_path / "etc/passwd").read_text(encoding="utf-8") == "root:x:0:0::/root:/bin/bash\n"
    assert row(root, "shadow", "root")[1] == ""
    assert not (tmp_path / "etc/gshadow").exists()
    assert owner(tmp_path / "etc/shadow") == (0, 0, 0o640)


@as_root
def test_links_lead_nowhere_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = make_root(tmp_path / "root", links={"home": str(outside), "etc/later": "/etc/passwd"})
    (tmp_path / "root" / str(outside).lstrip("/")).mkdir(parents=True)
    apply(root, {"larry": {}})
    assert list(outside.iterdir()) == []


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "unknown group": ({"larry": {"groups": ["wheeel"]}}, {}, "no group wheeel", "did you mean 'wheel'?"),
    "unknown primary group": ({"larry": {"group": "plugdev"}}, {}, "no group plugdev", "[groups.plugdev]"),
    "unknown group of an old user": ({"portage": {"group": "x"}}, {}, "no group x", "acct-group/x"),
    "shell": ({"larry": {"shell": "/bin/zsh"}}, {}, "no shell /bin/zsh", "package"),
    "other uid": ({"portage": {"uid": 251}}, {}, "uid 250, not 251", "belongs to"),
    "taken uid": ({"larry": {"uid": 250}}, {}, "uid 250 belongs to portage", "another"),
    "other gid": ({}, {"wheel": {"gid": 11}}, "gid 10, not 11", "leave gid out"),
    "taken gid": ({}, {"media": {"gid": 10}}, "gid 10 belongs to wheel", "another"),
}


@as_root
@pytest.mark.parametrize(("users", "groups", "message", "hint"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, users: Any, groups: Any, message: str, hint: str) -> None:
    (requirement,) = plan(make_root(tmp_path), users, groups).missing
    assert message in requirement.message
    assert hint in requirement.error().hint


@as_root
def test_all_refusals_at_once(tmp_path: Path) -> None:
    users = {"larry": {"groups": ["a", "b"], "shell": "/bin/x"}, "curly": {"groups": ["a"], "uid": 0}}
    assert len(plan(make_root(tmp_path), users).missing) == 4


def test_a_key_has_the_digest_of_a_password_and_not_its_hash() -> None:
    """Plans, the history and the descriptions of results show keys."""
    stage = Stage4.model_validate({"root": "x", "root_password": HASH, "users": {"larry": {"password": YESCRYPT}}})
    key = json.dumps(stage.for_key())
    assert HASH not in key and YESCRYPT not in key and key.count("sha256:") == 2
    assert stage.model_dump(mode="json")["root_password"] == HASH, "the worker gets it"
    other = Stage4.model_validate({"root": "x", "root_password": YESCRYPT, "users": {"larry": {"password": YESCRYPT}}})
    assert json.dumps(other.for_key()) != key
    locked = Stage4.model_validate({"root": "x", "root_password": "locked"})
    assert locked.for_key()["root_password"] == "locked" and Stage4.model_validate({"root": "x"}).for_key()


@pytest.mark.parametrize("password", [HASH, YESCRYPT, "locked", "empty"])
def test_passwords(password: str) -> None:
    assert User(password=password).password == password


@pytest.mark.parametrize(
    "password", ["", "secret", "$1$salt$qJH7.N4xYta3aEG/dfqo/0", "$6$salt", "!", HASH + "\n", HASH + ":x"]
)
def test_invalid_passwords_are_rejected(password: str) -> None:
    with pytest.raises(ValidationError) as caught:
        User(password=password)
    (problem,) = caught.value.errors()
    assert not password.strip() or password.strip() not in problem["msg"] + str(problem["ctx"]["hint"])


BAD_KEYS = {
    "private": "-----BEGIN OPENSSH PRIVATE KEY-----\nxx\n-----END OPENSSH PRIVATE KEY-----\n",
    "empty": "# nothing\n",
    "text": f"{KEY}\nhello there\n",
}


@pytest.mark.parametrize("text", BAD_KEYS.values(), ids=BAD_KEYS)
def test_files_that_hold_no_keys(text: str) -> None:
    lines, lacks = read_keys("keys/larry", text)
    assert lines == ()
    assert len(lacks) == 1


def test_keys_with_options_and_comments() -> None:
    text = f'# larry\n{KEY}\n\nrestrict,command="ls -l" {KEY}\nsk-ssh-ed25519@openssh.com AAAAGnNr larry\n'
    lines, lacks = read_keys("k", text)
    assert len(lines) == 3
    assert lacks == []
