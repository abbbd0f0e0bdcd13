"""Run pytest. If a few tests failed, run these once more, alone, and report both outcomes.

    python -m tools.test_run ARGUMENTS OF PYTEST...

Many tests start virtual machines, servers and killed builds on a machine that other tests keep busy. A test that fails
only then is a defect of the test: its name stands in the last line, and it must be corrected. But it does not hide the
outcome of the other five thousand. A defect of the product fails twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LIMIT = 3
"""Largest number of files with failed tests. More show that something is broken."""

LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")
"""File of pytest with the ids of the tests that failed, below the folder where pytest runs."""

FAILED = 1
"""Exit code of pytest if tests failed; other codes have other causes, for example an interrupt."""


def main(arguments: Sequence[str]) -> int:
    """Run the tests, and return the exit code of pytest in its last run."""
    code = _pytest(arguments)
    failed = _failed() if code == FAILED else []
    files = {name.partition("::")[0] for name in failed}
    if not failed:
        return code
    if len(files) > LIMIT:
        print(f"Tests of {len(files)} files failed. At most {LIMIT} files are run again.")
        return code
    print(f"Run again, alone: {' '.join(failed)}", flush=True)
    again = _pytest(["--last-failed", "--last-failed-no-failures=none"])
    if again == 0:
        print(f"FAILED ONCE, passed alone. Correct these tests: {' '.join(failed)}", flush=True)
    return again


def _pytest(arguments: Sequence[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


def _failed() -> list[str]:
    """Return the ids of the tests that failed; none if pytest could not write them."""
    try:
        return sorted(json.loads(LAST_FAILED.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
