"""Attributes that belong to a computer are not content; one that cannot be read does not hide the others."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from stagewright.attributes import attributes


def error(number: int, _name: object = None) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENODATA, errno.EACCES, errno.EPERM, errno.ENOTSUP])
def test_an_attribute_that_cannot_be_read_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def read(_place: object, name: str, *, follow_symlinks: bool) -> bytes:
        if name == "security.capability":
            raise error(number)
        return name.encode()

    names = ["user.b", "user.a", "security.capability", "security.selinux", "trusted.x", "trusted.overlay.opaque"]
    names += ["security.ima", "trusted.overlay.origin", "system.posix_acl_access", "system.nfs4_acl"]
    monkeypatch.setattr(os, "listxattr", lambda *_, **__: names)
    monkeypatch.setattr(os, "getxattr", read)
    assert list(attributes(tmp_path)) == ["system.posix_acl_access", "trusted.overlay.opaque", "user.a", "user.b"]


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.EPERM])
def test_a_file_system_without_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object, **__: object) -> list[str]:
        raise error(number)

    monkeypatch.setattr(os, "listxattr", refuse)
    assert attributes(tmp_path) == {}


def test_other_errors_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> list[str]:
        raise error(errno.EIO)

    monkeypatch.setattr(os, "listxattr", broken)
    with pytest.raises(OSError):
        attributes(tmp_path)
