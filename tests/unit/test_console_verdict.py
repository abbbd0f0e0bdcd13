"""Verdicts about errors on a console, with dates that are given: the clock has no part in most of these tests."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from stagewright.engine.console_verdict import verdict
from stagewright.kinds.common.console_settings import Allowed, OwnFailure, outdated
from stagewright.vm.console_scan import Finding, Scan

LAST = datetime.date(2027, 1, 31)
TOMORROW = datetime.date(2027, 2, 1)
DISK = Finding(7, 18.0, "I/O error, dev sr0, sector 164032", "a disk returned an error", "check the disk", "storage")
OOPS = Finding(9, 20.0, "Oops: 0000 [#1] SMP", "the kernel crashed", "try another", "kernel")


def allowed(**settings: Any) -> Allowed:
    values = {"pattern": "I/O error, dev sr0", "reason": "https://bugs.example/1", "until": LAST, **settings}
    return TypeAdapter(Allowed).validate_python(values)


def test_an_entry_permits_an_error_through_its_last_day() -> None:
    found = verdict(Scan((DISK, OOPS)), [allowed()], LAST)
    assert (found.errors, found.remarks) == ((OOPS,), [])


def test_an_expired_entry_is_reported_and_no_longer_counts() -> None:
    found = verdict(Scan((DISK,)), [allowed()], TOMORROW)
    assert found.errors == (DISK,)
    (remark,) = found.remarks
    assert "expired on 2027-01-31 (https://bugs.example/1)" in remark


def test_an_entry_without_a_date_counts_always() -> None:
    assert verdict(Scan((DISK,)), [allowed(until=None)], datetime.date(2999, 1, 1)).errors == ()


def test_an_entry_that_matches_nothing_is_reported() -> None:
    found = verdict(Scan((OOPS,)), [allowed()], LAST)
    assert found.errors == (OOPS,)
    assert found.remarks == ["allow: 'I/O error, dev sr0' matches no error on the console: remove the entry"]


def test_another_entry_can_permit_what_an_expired_one_did() -> None:
    assert verdict(Scan((DISK,)), [allowed(), allowed(until=None)], TOMORROW).errors == ()


def test_findings_that_were_not_kept_are_not_permitted() -> None:
    assert verdict(Scan((DISK,), dropped=3), [allowed()], LAST).dropped == 3


@pytest.mark.parametrize(
    "settings",
    [
        {"reason": ""},
        {"reason": "  \t"},
        {"pattern": "("},
        {"pattern": ""},
        {"pattern": "x*"},
        {"until": "2027-01-31"},
        {"until": datetime.datetime(2027, 1, 31, tzinfo=datetime.UTC)},
        {"unitl": LAST},
    ],
)
def test_an_invalid_entry_is_an_error(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        allowed(**settings)


def test_an_entry_crosses_to_a_worker() -> None:
    entry = allowed()
    assert Allowed.model_validate_json(entry.model_dump_json()) == entry


def test_an_entry_that_expired_long_before_the_project_is_an_error() -> None:
    epoch = int(datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC).timestamp())
    old = [allowed(until=datetime.date(2025, 11, 19)), allowed(until=datetime.date(2025, 11, 20)), allowed(until=None)]
    ((path, error),) = outdated(old, epoch)
    assert path == ("allow", 0, "until")
    assert "2025-11-19 is more than a year before the date of the project (2026-11-20)" in error.message


def test_a_failure_of_a_project_has_the_words_of_the_project() -> None:
    own = OwnFailure(pattern="demo: not ready", meaning="the demo was not ready", hint="wait", final=True).failure()
    assert (own.meaning, own.hint, own.final, own.part.value) == ("the demo was not ready", "wait", True, "project")
