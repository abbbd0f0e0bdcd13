"""Scripts of tests: the steps to perform, and a Python file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.testing.steps import LoginSettings, Step
from stagewright.vm.failures import Failure

if TYPE_CHECKING:
    from stagewright.testing.guest import Guest


@dataclass(frozen=True)
class Login:
    """User and password of a login on the console."""

    user: str
    password: str = ""


@dataclass(frozen=True)
class BootCommand:
    """A command for the guest's shell, its expected exit status, and a regular expression for its output."""

    run: str
    expect: str = ""
    status: int = 0


@dataclass(frozen=True)
class BootScript:
    """A test of guests: ``expect``, ``login``, ``commands``, ``steps`` or the Python ``file``, then the end.

    ``seconds`` is the time limit of the whole script; a second attempt has the same limit. ``expect`` are regular
    expressions, searched with MULTILINE. Without ``login`` the commands wait for a prompt, for consoles with automatic
    login. ``poweroff`` shuts the guest down and waits for its end. ``entry`` is the line of the boot menu to start.
    ``failures`` are those that the project knows. ``action`` is what a kind of tests does after the login.
    """

    expect: tuple[str, ...] = ()
    login: Login | None = None
    commands: tuple[BootCommand, ...] = ()
    steps: tuple[Step, ...] = ()
    file: Path | None = None
    poweroff: bool = False
    seconds: float = 300.0
    entry: int = 1
    failures: tuple[Failure, ...] = ()
    action: Callable[[Guest], None] | None = None

    def __post_init__(self) -> None:
        list(self.before_file())  # raises for an invalid regular expression

    def before_file(self) -> Iterator[Step]:
        """Yield all steps but the shutdown. Raises: INVALID_VALUE for an invalid regular expression."""
        yield from self.until_login()
        yield from self.after_login()

    def until_login(self) -> Iterator[Step]:
        """Yield the steps up to the login. Raises: INVALID_VALUE for an invalid regular expression."""
        try:
            yield from (Step(wait=pattern) for pattern in self.expect)
        except ValidationError as error:
            raise _invalid(error) from error
        if self.login:
            yield Step(login=LoginSettings(user=self.login.user, password=self.login.password))

    def after_login(self) -> Iterator[Step]:
        """Yield commands and steps. Raises: INVALID_VALUE for an invalid regular expression."""
        try:
            for command in self.commands:
                yield Step(run=command.run, status=command.status, expect=command.expect)
        except ValidationError as error:
            raise _invalid(error) from error
        yield from self.steps

    def after_file(self) -> Sequence[Step]:
        """Return the steps after the Python file."""
        return [Step(poweroff=True)] if self.poweroff else []


def _invalid(error: ValidationError) -> StagewrightError:
    return StagewrightError(Reason.INVALID_VALUE, error.errors()[0]["msg"])
