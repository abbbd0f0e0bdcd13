"""A row of ``make update-matrix``: the commands of docs/updates.md, typed in the order of the page.

Two versions of examples/updates are released and published with a key that exists for this run. A machine with the
first one updates itself from a web server, and is sent back.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.matrix import ROOT
from stagewright.arch import host_machine
from stagewright.netboot.boot_commands import GATEWAY
from stagewright.testing.machine import Machine
from stagewright.testing.setup import MachineSetup
from stagewright.testing.timeline import Timeline
from stagewright.vm import accel
from stagewright.vm.machine_spec import MachineSpec, architecture_of

PAGE = ROOT / "docs" / "updates.md"
SITE = "/srv/www/fleet"
"""The published folder in the page. A temporary one takes its place."""

ENTRIES = '"$(bootctl --print-boot-path)"/EFI/Linux'

_LIMIT = 3600.0
_KEY = "0123456789ABCDEF0123456789ABCDEF01234567"
_GPG = "batch\npinentry-mode loopback\npassphrase-file /dev/null\n"


def try_commands(project: Path, store: Path, folder: Path) -> None:
    """Type all commands of the page with a copy of the example. Raises an error if one of them fails.

    ``folder`` is an empty one for keys, web site and console.
    """
    keys, releases, guest = commands_of(PAGE.read_text(encoding="utf-8"))
    site = folder / "www"
    with _served(site) as port, _publisher(project, store, folder) as type_in:
        for line in keys:
            type_in(line)
        listed = type_in("gpg --with-colons --list-keys")
        _configure(project, re.findall(r"^fpr:+([0-9A-F]{40}):", listed, re.MULTILINE)[0], port)
        for version in ("1.0", "1.1"):
            _edit(project, 'version = "1.0"\nsource', f'version = "{version}"\nsource')
            for line in releases:
                type_in(line.replace(SITE, str(site)))
        (image,) = (site / "1.0").glob("*.qcow2")
        _update(image, folder / "machine", guest)


def commands_of(page: str) -> tuple[list[str], list[str], list[str]]:
    """Return the commands of the page: those for keys, those for each version, and those for a machine."""
    lines = re.findall(r"^    \$ (.+)$", page, re.MULTILINE)
    keys = [line for line in lines if line.startswith("gpg ")]
    releases = [line for line in lines if line.startswith("stagewright ")]
    table = page.partition("\n## On a machine\n")[2].partition("\n## ")[0]
    guest = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert len(keys) + len(releases) == len(lines) and len(keys) == len(releases) == 2, lines
    return keys, releases, guest


def _update(image: Path, folder: Path, commands: list[str]) -> None:
    """Start the first version, and type the commands for a machine: update, reboot, and go back once."""
    spec = MachineSpec(
        firmware="uefi",
        architecture=architecture_of(host_machine().arch),
        memory=1024,
        cpus=2,
        network="user",
        disk=image,
    )
    setup = MachineSetup(spec, accel.of(spec.architecture))
    with Machine(setup, Timeline(_LIMIT, on_step=_show), folder) as guest:
        guest.login()
        _expect_version(guest, "1.0")
        said = {}
        for command in commands:
            if command == "reboot":
                guest.reboot()
                _expect_version(guest, "1.1")
                guest.wait_until_succeeds(f"test -e {ENTRIES}/fleet_1.1.efi")
            else:
                said[command.rpartition("/")[2]] = guest.succeed(f"SYSTEMD_PAGER=cat {command}")
        assert "1.1" in said["systemd-sysupdate list"], said
        assert {"fleet_1.0.efi", "fleet_1.1.efi"} <= set(re.findall(r"fleet_1\.\d\.efi", said["bootctl list"])), said
        guest.reboot()
        _expect_version(guest, "1.0")


def _expect_version(guest: Machine, version: str) -> None:
    guest.check(". /etc/os-release; echo $IMAGE_VERSION", expect=rf"^{re.escape(version)}\s*$")


def _show(text: str) -> None:
    print(f"published: {text}", flush=True)


def _configure(project: Path, fingerprint: str, port: int) -> None:
    """Write the address of the server into the example, and its release, as the page shows it."""
    _edit(project, "https://updates.example.org/fleet/latest/feed", f"http://{GATEWAY}:{port}/latest/feed")
    _edit(project, "# [releases.fleet]\n", "[releases.fleet]\n")
    _edit(project, '# artifacts = ["disk", "feed"]\n', 'artifacts = ["disk", "feed"]\n')
    _edit(project, f'# sign.openpgp.key = "{_KEY}"', f'sign.openpgp.key = "{fingerprint}"')


def _edit(project: Path, old: str, new: str) -> None:
    file = project / "stagewright.toml"
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    file.write_text(text.replace(old, new), encoding="utf-8")


@contextmanager
def _publisher(project: Path, store: Path, folder: Path) -> Iterator[functools.partial[str]]:
    """Yield a function that runs a command line in the project, with an empty keyring."""
    programs, home = folder / "bin", folder / "gnupg"
    programs.mkdir()
    home.mkdir(mode=0o700)
    (home / "gpg.conf").write_text(_GPG, encoding="utf-8")
    script = programs / "stagewright"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m stagewright --store {store} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    env = {**os.environ, "GNUPGHOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"}
    try:
        yield functools.partial(_type, project, env)
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=env, check=False)


def _type(project: Path, env: dict[str, str], line: str) -> str:
    print(f"published: $ {line}", flush=True)
    done = subprocess.run(["sh", "-c", line], cwd=project, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


@contextmanager
def _served(site: Path) -> Iterator[int]:
    """Serve a folder to machines of QEMU's user network. Yield the port."""
    site.mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
