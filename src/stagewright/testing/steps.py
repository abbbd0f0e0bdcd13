"""Steps of a test in a project file: tables with one verb each, which call the methods of guests.

``{ unit = "sshd.service" }`` calls ``machine.wait_for_unit("sshd.service")``. Each verb is a field of :class:`Step`;
the other fields are its details.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from stagewright.errors import StagewrightError
from stagewright.graph.given import SecretInKey
from stagewright.project.amounts import SECONDS
from stagewright.project.fields import Matching, Pattern, ProjectFile, Section

if TYPE_CHECKING:
    from stagewright.testing.guest import Guest
    from stagewright.testing.machine import Machine

DISK = "disk"
"""Value of `start` and `reboot`: without the image, from the disk of the test."""


def _true_or_disk(value: bool | str) -> bool | str:
    if isinstance(value, str) and value != DISK:
        facts = {"value": repr(value), "hint": f'write true or "{DISK}"'}
        raise PydanticCustomError("disk", "invalid value {value}", facts)
    return value


TrueOrDisk = Annotated[bool | str, AfterValidator(_true_or_disk)]

Port = Annotated[int, Field(ge=1, le=65535)]
Pixel = Annotated[int, Field(ge=0, le=65535)]


class LoginSettings(Section):
    """Settings for the login on the console."""

    user: str
    """The name of the user."""
    password: Annotated[str, SecretInKey(frozenset({""}))] = ""
    """The password, if the guest asks for one."""


class ScreenStep(Section):
    """Expected content of the screen: a text, or a picture."""

    text: Pattern | None = None
    """A regular expression; tesseract reads the screen."""
    digest: Annotated[str, Matching(r"[0-9a-f]{64}", "a SHA-256")] | None = None
    """The SHA-256 of the pixels."""
    region: Annotated[list[Pixel], Field(min_length=4, max_length=4)] | None = None
    """The part for `digest`: left, top, width and height in pixels; default: the whole screen."""

    @model_validator(mode="after")
    def _one(self) -> ScreenStep:
        if (self.text is None) is (self.digest is None):
            raise PydanticCustomError("screen", "a screen needs either `text` or `digest`")
        if self.region and self.digest is None:
            raise PydanticCustomError("screen", "`region` applies to `digest`", {"at": "region"})
        return self


class CopyIn(Section):
    """A file or folder of the project for the guest."""

    file: Annotated[str, ProjectFile()]
    """The file, or a folder whose content is copied, relative to the project."""
    to: Annotated[str, Matching(r"/.+", "an absolute path")]
    """The path in the guest."""


class CopyOut(Section):
    """A file or folder of the guest for the results of the test."""

    file: Annotated[str, Matching(r"/.+", "an absolute path")]
    """The path in the guest."""
    to: Annotated[str, Matching(r"(?!.*\.\.)[A-Za-z0-9_][^\x00\n]*", "a relative path")] | None = None
    """The path below `files` in the results; default: the name of the file."""


class Step(Section):
    """One step: exactly one verb, with its details."""

    run: str | None = None
    """Run a command in the shell of the guest, or with `until` until it succeeds."""
    wait: Pattern | None = None
    """Wait until the console shows a regular expression."""
    login: LoginSettings | None = None
    """Log in on the console."""
    unit: str | None = None
    """Wait until a unit of systemd is active, or a service of OpenRC is started."""
    port: Port | None = None
    """Wait until a process in the guest listens on a TCP port."""
    file: str | None = None
    """Wait until a file or folder exists in the guest."""
    type: str | None = None
    """Type on the console; a line ends with `\\n`."""
    keys: list[str] | None = None
    """Press keys of the keyboard, such as `ctrl-alt-f2`."""
    chars: str | None = None
    """Type on the keyboard, with a US layout."""
    screen: ScreenStep | None = None
    """Wait until the screen shows a text or a picture."""
    screenshot: Annotated[str, Matching(r"[A-Za-z0-9_-]+", "a name without dots and slashes")] | None = None
    """Save a picture of the screen as NAME.png."""
    copy_in: CopyIn | None = None
    """Copy a file of the project to the guest."""
    copy_out: CopyOut | None = None
    """Copy a file of the guest to the results."""
    http: str | None = None
    """Wait for an answer of a web server in the machine: `http://:80/path`. Needs `network`."""
    ssh: str | None = None
    """Run a command as root over SSH. Needs `network`."""
    start: TrueOrDisk | None = None
    """Switch a machine on. Otherwise the first step of a machine does it. `disk`: without the image, from its disk."""
    reboot: TrueOrDisk | None = None
    """Reboot the machine and go on. `disk`: remove the image, and start from the empty disk of the test."""
    crash: bool | None = None
    """Switch the machine off at once."""
    poweroff: bool | None = None
    """Shut the guest down, and check that it stops."""

    status: int | None = None
    """The required exit status of `run` and `ssh` (default: 0), or the status of `http` (default: 200)."""
    expect: Pattern | None = None
    """A regular expression for the output of `run` or `ssh`, or the answer of `http`."""
    until: bool = False
    """Repeat the command of `run` each second until it succeeds."""
    timeout: Annotated[float, Field(gt=0), SECONDS] | None = None
    """The limit of the step: seconds, or a text such as `"5m"`; default: what is left of the limit of the test."""
    machine: str | None = None
    """The machine of the step, in tests with several machines."""

    @model_validator(mode="after")
    def _one_verb(self) -> Step:
        found = [name for name in VERBS if getattr(self, name) is not None]
        if len(found) != 1:
            facts = {"found": " and ".join(found) or "none", "hint": f"write exactly one of {', '.join(VERBS)}"}
            raise PydanticCustomError("verb", "a step needs exactly one verb (found {found})", facts)
        for name, verbs in _DETAILS.items():
            if getattr(self, name) not in (None, False) and self.verb not in verbs:
                facts = {"hint": f"remove it; it applies to {' and '.join(verbs)}", "at": name}
                raise PydanticCustomError("detail", f"`{name}` does not apply to `{self.verb}`", facts)
        if getattr(self, self.verb) is False:
            raise PydanticCustomError("verb", f"`{self.verb}` is false: the step does nothing", {"at": self.verb})
        self._check_values()
        return self

    def _check_values(self) -> None:
        """Raise PydanticCustomError for a URL that is invalid, or details that exclude each other."""
        if self.until and (self.status is not None or self.expect is not None):
            raise PydanticCustomError("detail", "`until` excludes `status` and `expect`", {"at": "until"})
        if self.http is not None:
            from stagewright.testing.host_checks import Url

            try:
                Url.of(self.http)
            except StagewrightError as error:
                raise PydanticCustomError("url", "{message}", _facts(error, "http")) from error

    @property
    def verb(self) -> str:
        """Name of the verb."""
        return next(name for name in VERBS if getattr(self, name) is not None)

    @property
    def needs_machine(self) -> bool:
        """True if a container cannot do it."""
        return self.verb in MACHINE_VERBS

    @property
    def needs_disk(self) -> bool:
        """True if it needs an empty disk."""
        return DISK in (self.start, self.reboot)

    @property
    def needs_network(self) -> bool:
        """True if it needs a network card."""
        return self.verb in ("http", "ssh")

    def __str__(self) -> str:
        from stagewright.vm.console import shorten

        value = getattr(self, self.verb)
        return self.verb if value is True else f"{self.verb} {shorten(str(value))}"

    def perform(self, guest: Guest, files: Mapping[str, Path]) -> None:
        """Do the step. ``files`` are the files of the project by their path. Raises ``BOOT_FAILED``."""
        _ACTIONS[self.verb](self, guest, files)


def _perform_screen(step: Step, machine: Machine) -> None:
    from stagewright.testing.screen import Region

    screen = step.screen
    assert screen
    if screen.text is not None:
        machine.wait_for_screen_text(screen.text, step.timeout)
    else:
        region = Region(*screen.region) if screen.region else None
        machine.wait_for_screen(str(screen.digest), region, step.timeout)


def _perform_run(step: Step, guest: Guest) -> None:
    command = str(step.run)
    if step.until:
        guest.wait_until_succeeds(command, step.timeout)
    else:
        guest.check(command, status=step.status or 0, expect=step.expect or "", timeout=step.timeout)


def _on_machine(action: Callable[[Step, Machine], object]) -> Callable[[Step, Guest, Mapping[str, Path]], None]:
    def perform(step: Step, guest: Guest, files: Mapping[str, Path]) -> None:
        from stagewright.testing.machine import Machine

        assert isinstance(guest, Machine), "the project was checked"
        action(step, guest)

    return perform


def _on_guest(action: Callable[[Step, Guest], object]) -> Callable[[Step, Guest, Mapping[str, Path]], None]:
    return lambda step, guest, files: _none(action(step, guest))


def _none(value: object) -> None:
    """Ignore the result of a method."""


def _copy_in(step: Step, guest: Guest, files: Mapping[str, Path]) -> None:
    assert step.copy_in
    guest.copy_to(files[step.copy_in.file], step.copy_in.to, step.timeout)


def _login(step: Step, guest: Guest) -> None:
    assert step.login
    guest.login(step.login.user, step.login.password, step.timeout)


def _copy_out(step: Step, guest: Guest) -> None:
    assert step.copy_out
    guest.copy_from(step.copy_out.file, step.copy_out.to or "", step.timeout)


_GUEST_ACTIONS: dict[str, Callable[[Step, Guest], object]] = {
    "wait": lambda step, guest: guest.wait_for_console_text(str(step.wait), step.timeout),
    "login": _login,
    "run": _perform_run,
    "unit": lambda step, guest: guest.wait_for_unit(str(step.unit), step.timeout),
    "port": lambda step, guest: guest.wait_for_open_port(step.port or 0, step.timeout),
    "file": lambda step, guest: guest.wait_for_file(str(step.file), step.timeout),
    "type": lambda step, guest: guest.type(str(step.type)),
    "copy_out": _copy_out,
    "poweroff": lambda step, guest: guest.shutdown(step.timeout),
}

_MACHINE_ACTIONS: dict[str, Callable[[Step, Machine], object]] = {
    "keys": lambda step, machine: machine.send_keys(*(step.keys or ())),
    "chars": lambda step, machine: machine.send_chars(str(step.chars)),
    "screen": _perform_screen,
    "screenshot": lambda step, machine: machine.screenshot(str(step.screenshot)),
    "http": lambda step, machine: machine.wait_for_http(
        str(step.http), status=step.status or 200, expect=step.expect or "", timeout=step.timeout
    ),
    "ssh": lambda step, machine: machine.ssh(
        str(step.ssh), status=step.status or 0, expect=step.expect or "", timeout=step.timeout
    ),
    "start": lambda step, machine: machine.start(from_disk=step.start == DISK),
    "reboot": lambda step, machine: machine.reboot(step.timeout, from_disk=step.reboot == DISK),
    "crash": lambda step, machine: machine.crash(),
}

_ACTIONS: dict[str, Callable[[Step, Guest, Mapping[str, Path]], None]] = {
    **{verb: _on_guest(action) for verb, action in _GUEST_ACTIONS.items()},
    **{verb: _on_machine(action) for verb, action in _MACHINE_ACTIONS.items()},
    "copy_in": _copy_in,
}

MACHINE_VERBS = tuple(_MACHINE_ACTIONS)
"""Verbs that need a virtual machine."""

VERBS = tuple(name for name in Step.model_fields if name in _ACTIONS)
"""All verbs, in the order of the documentation."""

_DETAILS = {"status": ("run", "ssh", "http"), "expect": ("run", "ssh", "http"), "until": ("run",)}
"""Verbs that each detail applies to."""


def _facts(error: StagewrightError, name: str) -> dict[str, Any]:
    return {"message": error.message, "hint": error.hint, "at": name}
