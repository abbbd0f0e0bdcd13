"""Services: runlevels of OpenRC, links of systemd (as systemctl makes them), and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from roots import EPOCH, as_root, in_sandbox, links_of, make_root, with_shell

from stagewright.root.root import Root
from stagewright.root.services import Services, apply_services, missing_services

UNITS = {
    "sshd.service": "[Unit]\n[Install]\nWantedBy=multi-user.target\nAlias=ssh.service\nAlso=sshd.socket\n",
    "sshd.socket": "[Socket]\nListenStream=22\n[Install]\nWantedBy=sockets.target\n",
    "getty@.service": "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
    "vpn@.service": "[Install]\nWantedBy=multi-user.target\nRequiredBy=net-%i.target\nAlias=tunnel@%i.service\n",
    "static.service": "[Service]\nExecStart=/bin/true\n",
    "twice.service": "[Install]\nWantedBy=a.target\nWantedBy=b.target \\\n  c.target\n; WantedBy=d.target\n",
    "reset.service": "[Install]\nWantedBy=a.target\nWantedBy=\nWantedBy=b.target\n",
    "cron.timer": "[Timer]\n[Install]\nWantedBy=timers.target\n",
    "display.service": "[Install]\nAlias=display-manager.service\n",
    "percent.service": "[Install]\nWantedBy=%p-%N.target\n",
    "multi-user.target": "[Unit]\n",
    "graphical.target": "[Unit]\n",
}

SYSTEMD = {"usr/lib/systemd/systemd*": "", **{f"usr/lib/systemd/system/{name}": text for name, text in UNITS.items()}}
OPENRC = {f"etc/init.d/{name}*": "" for name in ("sshd", "hwclock", "netmount")} | {
    "etc/init.d/functions.sh*": "",
    "etc/init.d/notes": "",
    "sbin/openrc*": "",
}
RUNLEVELS = {
    "etc/runlevels/boot/hwclock": "/etc/init.d/hwclock",
    "etc/runlevels/default/netmount": "/etc/init.d/netmount",
}


def root_with(path: Path, texts: Mapping[str, str], links: Mapping[str, str] | None = None) -> Root:
    return make_root(path, texts, links=links)


def missing(root: Root, **settings: Any) -> list[tuple[str, str]]:
    found = missing_services(Services(**settings), root)
    return [(lack.message, lack.error().hint) for lack in found]


def apply(root: Root, **settings: Any) -> None:
    assert missing(root, **settings) == []
    apply_services(Services(**settings), root, EPOCH)


# OpenRC


@as_root
def test_runlevels(tmp_path: Path) -> None:
    root = root_with(tmp_path, OPENRC, RUNLEVELS)
    apply(root, enable=["sshd"], disable=["netmount"], runlevels={"boot": ["sshd"], "nonetwork": ["hwclock"]})
    assert links_of(root, "etc/runlevels") == {
        "boot/hwclock": "/etc/init.d/hwclock",
        "boot/sshd": "/etc/init.d/sshd",
        "default/sshd": "/etc/init.d/sshd",
        "nonetwork/hwclock": "/etc/init.d/hwclock",
    }


REFUSED_BY_OPENRC: dict[str, tuple[dict[str, Any], str, str]] = {
    "service": ({"enable": ["shd"]}, "no service shd", "did you mean 'sshd'?"),
    "gone": ({"disable": ["cups"]}, "no service cups", "known here: hwclock, netmount, sshd"),
    "unit": ({"enable": ["sshd.service"]}, "no service sshd.service", "did you mean 'sshd'?"),
    "library": ({"enable": ["functions.sh"]}, "no service functions.sh", ""),
    "not executable": ({"enable": ["notes"]}, "no service notes", ""),
    "runlevel": ({"runlevels": {"bot": ["sshd"]}}, "runlevel bot not found", "did you mean 'boot'?"),
    "service of a runlevel": ({"runlevels": {"boot": ["hwclok"]}}, "/etc/init.d/hwclok", "did you mean 'hwclock'?"),
    "target": ({"target": "multi-user"}, "services.target is for systemd", "use enable and disable, or runlevels"),
    "mask": ({"mask": ["sshd"]}, "services.mask is for systemd", "runlevels"),
    "presets": ({"presets": ["enable *"]}, "services.presets is for systemd", "runlevels"),
}


@as_root
@pytest.mark.parametrize(("settings", "message", "hint"), REFUSED_BY_OPENRC.values(), ids=REFUSED_BY_OPENRC)
def test_refused_by_openrc(tmp_path: Path, settings: Any, message: str, hint: str) -> None:
    ((found, remedy),) = missing(root_with(tmp_path, OPENRC, RUNLEVELS), **settings)
    assert message in found
    assert hint in remedy


# systemd

CASES: dict[str, list[str]] = {
    "alias and also": ["sshd"],
    "default instance": ["getty@"],
    "instance": ["getty@tty7", "vpn@home.service"],
    "lists": ["twice", "reset"],
    "another type": ["cron.timer"],
    "only an alias": ["display"],
    "specifiers": ["percent"],
    "drop-in": ["dropped"],
    "of the administrator": ["own"],
}
MORE = {
    "usr/lib/systemd/system/dropped.service": "[Install]\nWantedBy=a.target\n",
    "etc/systemd/system/dropped.service.d/10.conf": "[Install]\nWantedBy=b.target\n",
    "etc/systemd/system/own.service": "[Install]\nWantedBy=a.target\n",
}


@as_root
@pytest.mark.parametrize("names", CASES.values(), ids=CASES)
def test_enable_does_what_systemctl_does(tmp_path: Path, names: list[str]) -> None:
    ours, theirs = (root_with(tmp_path / name, {**SYSTEMD, **MORE}) for name in ("ours", "theirs"))
    apply(ours, enable=names)
    assert links_of(ours, "etc/systemd/system")
    _systemctl(theirs, "enable", *names)
    assert links_of(ours, "etc/systemd/system") == links_of(theirs, "etc/systemd/system")
    apply(ours, disable=names)
    _systemctl(theirs, "disable", *names)
    assert links_of(ours, "etc/systemd/system") == links_of(theirs, "etc/systemd/system")


@as_root
@pytest.mark.parametrize(
    "rules",
    [
        ["disable *"],
        ["enable sshd*", "disable *"],
        ["disable getty@.service"],
        ["enable vpn@.service home work", "disable vpn*"],
        ["disable twice.service", "enable *.timer"],
    ],
    ids=" ".join,
)
def test_presets_do_what_systemctl_does(tmp_path: Path, rules: list[str]) -> None:
    old = {"usr/lib/systemd/system-preset/90-old.preset": "# x\ndisable display.service\n"}
    links = {"etc/systemd/system/a.target.wants/reset.service": "/usr/lib/systemd/system/reset.service"}
    ours, theirs = (root_with(tmp_path / name, {**SYSTEMD, **MORE, **old}, links) for name in ("ours", "theirs"))
    apply(ours, presets=rules)
    shutil.copytree(ours.path / "etc/systemd/system-preset", theirs.path / "etc/systemd/system-preset")
    _systemctl(theirs, "preset-all")
    assert links_of(ours, "etc/systemd/system") == links_of(theirs, "etc/systemd/system")


def _systemctl(root: Root, *words: str) -> None:
    if shutil.which("systemctl") is None:
        pytest.skip("NOT TESTED: no systemctl here to compare with")
    environment = {**os.environ, "SYSTEMD_OFFLINE": "1"}
    done = subprocess.run(
        ["systemctl", f"--root={root.path}", *words], check=False, capture_output=True, env=environment
    )
    assert done.returncode == 0, done.stderr.decode().replace(str(root.path), "")


@as_root
def test_mask_and_target(tmp_path: Path) -> None:
    links = {"etc/systemd/system/sockets.target.wants/sshd.socket": "/usr/lib/systemd/system/sshd.socket"}
    root = root_with(tmp_path, SYSTEMD, links)
    apply(root, mask=["sshd.socket"], target="graphical")
    assert links_of(root, "etc/systemd/system") == {
        "default.target": "/usr/lib/systemd/system/graphical.target",
        "sshd.socket": "/dev/null",
    }
    apply(root, target="multi-user.target")
    assert links_of(root, "etc/systemd/system")["default.target"] == "/usr/lib/systemd/system/multi-user.target"
    ((message, hint),) = missing(root, enable=["sshd.socket"])
    assert "masked" in message
    assert "remove /etc/systemd/system/sshd.socket" in hint


@as_root
@in_sandbox
def test_a_root_with_systemctl_uses_it(tmp_path: Path) -> None:
    program = {"usr/bin/systemctl*": '#!/bin/sh\necho "$SYSTEMD_OFFLINE $*" >> /calls\n'}
    root = with_shell(root_with(tmp_path, {**SYSTEMD, **program}))
    apply(root, enable=["sshd", "getty@tty7"], disable=["cron.timer"], mask=["display"], target="graphical")
    assert (tmp_path / "calls").read_text(encoding="utf-8").splitlines() == [
        "1 --root=/ --no-reload disable cron.timer display.service",
        "1 --root=/ --no-reload enable sshd.service getty@tty7.service",
        "1 --root=/ --no-reload mask display.service",
        "1 --root=/ --no-reload set-default graphical.target",
    ]


@as_root
def test_presets_keep_what_stages_below_have_said(tmp_path: Path) -> None:
    """The first boot applies presets: what is disabled must be so there, and what a stage below enabled stays."""
    root = root_with(tmp_path, SYSTEMD)
    apply(root, enable=["sshd", "getty@tty1"], presets=["disable *"])
    apply(root, enable=["getty@tty2", "getty@tty3"], disable=["sshd"])
    lines = (tmp_path / "etc/systemd/system-preset/00-stagewright.preset").read_text(encoding="utf-8").splitlines()[1:]
    assert lines == [
        "disable sshd.service",
        "enable getty@.service tty2 tty3 tty1",
        "enable sshd.service",
        "enable getty@.service tty1",
        "disable *",
    ]


REFUSED_BY_SYSTEMD: dict[str, tuple[dict[str, Any], str, str]] = {
    "service": ({"enable": ["ssd"]}, "no service ssd", "did you mean 'sshd'?"),
    "timer": ({"enable": ["corn.timer"]}, "no service corn.timer", "did you mean 'cron.timer'?"),
    "static": ({"enable": ["static"]}, "no [Install] section", "WantedBy"),
    "template": ({"enable": ["vpn@"]}, "is a template", "enable an instance: vpn@NAME.service"),
    "alias": ({"enable": ["secure-shell"]}, "another name of sshd.service", "enable sshd.service"),
    "masked": ({"enable": ["dead"]}, "dead.service is masked", "remove"),
    "always started": ({"disable": ["always"]}, "cannot be disabled", "mask it"),
    "mask": ({"mask": ["nothing"]}, "unit nothing.service not found", ""),
    "mask of a file": ({"mask": ["own"]}, "is a file, not a link", "remove the file"),
    "target": ({"target": "grafical"}, "target grafical not found", "did you mean 'graphical'?"),
    "runlevels": ({"runlevels": {"boot": ["sshd"]}}, "services.runlevels is for OpenRC", "mask, presets"),
}


@as_root
@pytest.mark.parametrize(("settings", "message", "hint"), REFUSED_BY_SYSTEMD.values(), ids=REFUSED_BY_SYSTEMD)
def test_refused_by_systemd(tmp_path: Path, settings: Any, message: str, hint: str) -> None:
    units = "usr/lib/systemd/system"
    links = {
        f"{units}/secure-shell.service": "sshd.service",
        f"{units}/multi-user.target.wants/always.service": "../always.service",
        "etc/systemd/system/dead.service": "/dev/null",
    }
    more = {**MORE, f"{units}/always.service": "[Install]\nWantedBy=x.target\n"}
    ((found, remedy),) = missing(root_with(tmp_path, {**SYSTEMD, **more}, links), **settings)
    assert message in found
    assert hint in remedy


# either, both, none


@as_root
def test_no_init_at_all(tmp_path: Path) -> None:
    root = root_with(tmp_path, {"etc/init.d/sshd*": ""})
    ((message, hint),) = missing(root, enable=["sshd"], target="x", runlevels={"boot": ["y"]})
    assert "no init system" in message
    assert "openrc" in hint
    assert missing(root) == []


@as_root
def test_both_inits(tmp_path: Path) -> None:
    root = root_with(tmp_path, {**SYSTEMD, **OPENRC}, RUNLEVELS)
    apply(root, enable=["sshd", "cron.timer", "netmount"], runlevels={"boot": ["sshd"]}, target="graphical")
    assert "default/sshd" in links_of(root, "etc/runlevels")
    assert "multi-user.target.wants/sshd.service" in links_of(root, "etc/systemd/system")
    assert "timers.target.wants/cron.timer" in links_of(root, "etc/systemd/system")


@as_root
def test_all_refusals_at_once(tmp_path: Path) -> None:
    found = missing(
        root_with(tmp_path, SYSTEMD), enable=["a", "static"], target="b", runlevels={"c": ["d"]}, mask=["e"]
    )
    assert len(found) == 5


@as_root
def test_links_lead_nowhere_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = root_with(tmp_path / "root", SYSTEMD, {"etc/systemd/system": str(outside)})
    (root.path / str(outside).lstrip("/")).mkdir(parents=True)
    apply(root, enable=["sshd"])
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"enable": ["a"], "disable": ["a"]},
        {"runlevels": {"boot": ["a"]}, "disable": ["a"]},
        {"enable": ["a"], "mask": ["a"]},
        {"disable": ["a"], "mask": ["a"]},
        {"enable": ["../a"]},
        {"enable": ["a b"]},
        {"runlevels": {"a/b": ["x"]}},
        {"presets": ["start x"]},
        {"presets": ["enable"]},
    ],
    ids=str,
)
def test_errors_in_the_project_file_are_reported_when_it_is_read(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Services(**settings)
