"""Wait for what runs in a guest: services of systemd or OpenRC, open ports, files."""

from __future__ import annotations

import shlex

from stagewright.testing.shell import Shell, failed

_INIT = (
    "if [ -d /run/systemd/system ]; then echo systemd;"
    " elif [ -d /run/openrc ] || [ -x /sbin/rc-service ] || [ -x /usr/bin/rc-service ]; then echo openrc;"
    " else echo none; fi"
)
_JOURNAL = 20
"""Lines of the journal of a failed unit in an error."""

_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h of Linux)

_CRASHED, _UNKNOWN = 32, 1  # exit status of rc-service NAME status (rc-service(8), sh/openrc-run.sh.in)


def wait_for_unit(shell: Shell, name: str, timeout: float | None = None) -> None:
    """Wait until a unit of systemd is active, or a service of OpenRC is started.

    Raises ``BOOT_FAILED`` at once, with the end of its journal, if the unit has failed or cannot become active.
    """
    kind = shell.run(_INIT)[1].strip().rpartition("\n")[2]
    if kind == "none":
        hint = 'wait for a process instead, such as until = "pidof NAME"'
        raise failed(f"{name}: the guest has neither systemd nor OpenRC", hint=hint)
    attempt = _Systemd(shell, name).active if kind == "systemd" else _OpenRc(shell, name).started
    shell.wait_until(f"{name} to be active", attempt, timeout)


class _Systemd:
    """Queries for a unit of systemd."""

    def __init__(self, shell: Shell, name: str) -> None:
        self._shell, self._name = shell, name
        self._unit = shlex.quote(name)

    def active(self) -> bool:
        """Return True if the unit is active. Raises ``BOOT_FAILED`` if it never will be."""
        state = self._said(f"systemctl is-active {self._unit}").rpartition("\n")[2]
        if state == "active":
            return True
        if state == "failed":
            raise failed(f"unit {self._name} failed", self._evidence())
        if state not in ("inactive", "unknown") or self._has_jobs():
            return False
        if self._said(f"systemctl is-active {self._unit}").rpartition("\n")[2] == "active":
            return True  # it was started between the two commands
        raise failed(f"unit {self._name} is {state}, and systemd has no pending jobs", self._evidence())

    def _has_jobs(self) -> bool:
        return bool(self._said("systemctl list-jobs --no-legend --no-pager | grep -v '^No jobs'"))

    def _evidence(self) -> str:
        status = self._said(f"systemctl status --no-pager --full --lines={_JOURNAL} {self._unit} 2>&1 | cat")
        others = self._said("systemctl list-units --state=failed --no-legend --plain --no-pager | cat")
        return "\n".join([status, *([f"failed units:\n{others}"] if others else [])])

    def _said(self, command: str) -> str:
        return self._shell.run(command)[1].strip()


class _OpenRc:
    """Queries for a service of OpenRC."""

    def __init__(self, shell: Shell, name: str) -> None:
        self._shell = shell
        self._name = name.removesuffix(".service")

    def started(self) -> bool:
        """Return True if the service is started. Raises ``BOOT_FAILED`` if it crashed or does not exist."""
        status, output = self._shell.run(f"rc-service {shlex.quote(self._name)} status")
        if status in (_CRASHED, _UNKNOWN):
            problem = "crashed" if status == _CRASHED else "is not known to OpenRC"
            raise failed(f"service {self._name} {problem}", output)
        return status == 0


def is_listening(shell: Shell, port: int, timeout: float | None = None) -> bool:
    """Return True if a process of the guest listens on a TCP port."""
    table = shell.run("cat /proc/net/tcp /proc/net/tcp6 2>/dev/null", timeout)[1]
    rows = [line.split() for line in table.splitlines()]
    return any(len(row) > 3 and row[3] == _LISTENING and row[1].endswith(f":{port:04X}") for row in rows)


def has_file(shell: Shell, path: str, timeout: float | None = None) -> bool:
    """Return True if a file or folder exists in the guest."""
    return shell.run(f"test -e {shlex.quote(path)}", timeout)[0] == 0
