"""The course of one test: its time limit, and its steps with their times and states."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from stagewright.errors import NEXT_HINT, Reason, StagewrightError
from stagewright.testing.results import State, StepResult
from stagewright.vm.failures import Failure

ONLY = "machine"
"""Name of the machine of a test with one machine."""

Explain = Callable[[StagewrightError], StagewrightError]
"""Returns the error of a step with the evidence of its machine."""


class Timeline:
    """The steps of a test that runs. ``seconds`` is the time limit of the whole test.

    ``name`` is that of the test in the project, "" outside of a project. ``on_step`` is called when a step begins.
    ``failures`` are those that the project knows, in addition to Stagewright's.
    """

    def __init__(
        self,
        seconds: float,
        *,
        name: str = "",
        on_step: Callable[[str], None] = lambda text: None,
        failures: Sequence[Failure] = (),
    ) -> None:
        self.name = name
        self.failures = tuple(failures)
        self.started = time.monotonic()
        self.end = self.started + seconds
        self.steps: list[StepResult] = []
        self.on_step = on_step
        self._titles: list[str] = []
        self._running = False

    def unlimited(self) -> None:
        """Remove the time limit, for a user who works with the machines."""
        self.end = time.monotonic() + 30 * 86400

    def left(self, timeout: float | None = None) -> float:
        """Return the seconds that are left of the test, at most ``timeout``."""
        left = max(self.end - time.monotonic(), 0.0)
        return left if timeout is None else min(left, timeout)

    @contextlib.contextmanager
    def step(self, machine: str, text: str, explain: Explain = lambda error: error) -> Iterator[None]:
        """Record the work of a block as a step. Steps inside of a step are part of it.

        Raises the error of the block, with the number and the text of the step.
        """
        if self._running:
            yield
            return
        text = ": ".join([*self._titles, text])
        self._begin(machine, text)
        begin, number = time.monotonic(), len(self.steps) + 1

        def note(state: State, message: str = "") -> None:
            start, seconds = begin - self.started, time.monotonic() - begin
            times = {"start": round(start, 2), "seconds": round(seconds, 2)}
            self.steps.append(
                StepResult(number=number, text=text, machine=machine, state=state, message=message, **times)
            )

        self._running = True
        try:
            yield
        except StagewrightError as error:
            note(State.FAILED, error.message)
            raise self._explained(number, text, machine, explain(error)) from error
        except BaseException as error:
            note(State.FAILED, f"{type(error).__name__}: {error}")
            raise
        finally:
            self._running = False
        note(State.PASSED)

    @contextlib.contextmanager
    def group(self, title: str) -> Iterator[None]:
        """Put a title before the texts of the steps of a block."""
        self._titles.append(title)
        try:
            yield
        finally:
            self._titles.pop()

    def skip(self, machine: str, text: str) -> None:
        """Record a step that does not run, because an earlier one failed."""
        number, now = len(self.steps) + 1, round(time.monotonic() - self.started, 2)
        result = StepResult(number=number, text=text, machine=machine, start=now, seconds=0.0, state=State.SKIPPED)
        self.steps.append(result)

    def _begin(self, machine: str, text: str) -> None:
        self.on_step(text if machine in (ONLY, "") else f"{machine}: {text}")

    def _explained(self, number: int, text: str, machine: str, error: StagewrightError) -> StagewrightError:
        where = "" if machine in (ONLY, "") else f", {machine}"
        hints = [error.hint] if error.hint else []
        if error.reason is Reason.BOOT_FAILED and self.name:
            hints.append(f"stagewright test {self.name} --interactive stops at this step, with a Python prompt")
        message = f"step {number}{where} ({text}): {error.message}"
        return StagewrightError(
            error.reason, message, place=error.place, hint=NEXT_HINT.join(hints), detail=error.detail
        )
