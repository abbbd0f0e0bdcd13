"""Files that a merge left and that no package owns."""

from __future__ import annotations

from pathlib import Path

import pytest
from roots import as_root, make_root

from stagewright.errors import Reason
from stagewright.portage.confdir import NO_SANDBOX, ParallelJobs, assemble_confdir, write_build_variables
from stagewright.portage.settings import PortageSettings
from stagewright.portage.unowned import SHOWN, regular_files, unowned_error, unowned_files, unowned_notice

CONTENTS = """\
dir /usr/share/app
obj /usr/share/app/file with spaces d41d8cd98f00b204e9800998ecf8427e 1700000000
obj /bin/app d41d8cd98f00b204e9800998ecf8427e 1700000000
sym /usr/bin/link -> app 1700000000
"""

LEFT = {"usr/share/leaked": "", "etc/leaked.conf": "", "opt/leaked": "", "home/larry/leaked": ""}
MADE_BY_PORTAGE = {
    "var/lib/portage/world": "",
    "etc/ld.so.cache": "",
    "etc/env.d/04gcc": "",
    "usr/share/info/dir": "",
    "usr/lib/python3.13/site-packages/x/__pycache__/y.pyc": "",
    "usr/share/icons/hicolor/icon-theme.cache": "",
    "lib/modules/6.6.0/modules.dep": "",
    "usr/share/mime/mime.cache": "",
    "etc/passwd-": "",
}


def root_of(folder: Path) -> Path:
    files = {"var/db/pkg/app-misc/app-1/CONTENTS": CONTENTS, "usr/share/app/file with spaces": "", "usr/bin/app": ""}
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "bin").symlink_to("usr/bin")
    return make_root(folder, {**files, **LEFT, **MADE_BY_PORTAGE}).path


@as_root
def test_files_without_an_owner_are_found(tmp_path: Path) -> None:
    """In a root with a merged /usr, /usr/bin/app is the file that CONTENTS calls /bin/app."""
    before = regular_files(make_root(tmp_path / "before").path)
    root = root_of(tmp_path / "root")
    new = regular_files(root) - before - {"/usr/bin/bash"}
    assert "/usr/share/app/file with spaces" in new
    assert unowned_files(root, new) == sorted(f"/{name}" for name in LEFT)
    assert unowned_files(root, new, ["/home/**", "/usr/share/*", "/opt/leaked"]) == ["/etc/leaked.conf"]
    assert unowned_files(root, []) == []


def test_messages_name_a_few_files() -> None:
    files = [f"/usr/share/{number}" for number in range(SHOWN + 3)]
    assert f"/usr/share/{SHOWN - 1} and 3 more" in unowned_notice(files)
    error = unowned_error(files)
    assert error.reason is Reason.BUILD_FAILED
    assert error.detail.count("\n") == SHOWN - 1


@pytest.mark.parametrize("sandbox", [False, True])
def test_sandbox_is_on_where_the_root_has_it(tmp_path: Path, sandbox: bool) -> None:
    """It is on by default (make.globals)."""
    folder = assemble_confdir(tmp_path / "etc", PortageSettings(), [], [], ParallelJobs(1, 1))
    write_build_variables(folder, {}, sandbox=sandbox)
    words = (folder / "make.conf/95-build").read_text(encoding="utf-8").split()
    assert all((word in words) is not sandbox for word in NO_SANDBOX)
