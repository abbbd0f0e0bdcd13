"""``stagewright catalyst check``."""

from __future__ import annotations

import json

import click

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.release import Release
from stagewright.cli.catalyst.report import print_notices
from stagewright.cli.options import specs_options
from stagewright.dropin.project import Specs, load_specs
from stagewright.errors import Exit, ProblemsError, StagewrightError
from stagewright.ui.text import plural


@click.command(name="check")
@specs_options
@click.option("--strict", is_flag=True, help="Also report places that Catalyst surely reads differently than intended.")
@click.option("--json", "as_json", is_flag=True, help="Print errors and notices as JSON.")
def command(
    specs: Specs,
    strict: bool,
    as_json: bool,
) -> int:
    """Report all errors of specs at once.

    SPEC is a spec, or a folder whose *.spec files are read. With the configuration of
    catalyst-auto no SPEC is needed. Each error is a line "FILE:LINE:COLUMN: MESSAGE",
    followed by a hint. Keys that Catalyst accepts and Stagewright does not are errors
    (`stagewright catalyst keys`), notes are not. Nothing is built, and no shell runs.
    Packages and profiles are checked in the repositories of --repo.

    With --strict, surprising places are errors too: a colon in a list, a key that is
    given twice, a # in a word, a missing value.

    \b
      stagewright catalyst check releases/specs/amd64 --strict
      stagewright catalyst check --conf tools/catalyst-auto-amd64.conf
      stagewright catalyst check x.spec --set TIMESTAMP=20260628T164555Z
    """
    loaded = load_specs(specs)
    release = loaded.release
    known = {problem.place for problem in release.problems}
    release.problems += [problem for problem in loaded.model_problems() if problem.place not in known]
    release.problems += [*release.absent, *loaded.converted.refused]
    clashes = [
        Notice(error.place, f"{error.message}, so they cannot be built together")
        for error in release.clashes
        if error.place
    ]
    release.notices = [*loaded.notices, *clashes]
    findings = _findings(release)
    errors = release.problems + (findings if strict else [])
    if as_json:
        print(json.dumps(_data(release, errors, findings), indent=2))
        return Exit.INVALID if errors else Exit.OK
    print_notices(release.notices)
    if errors:
        raise ProblemsError(errors)
    print(f"{plural(len(release.members), 'spec')}; nothing wrong")
    if findings:
        print(f"{plural(len(findings), 'surprising place')}; --strict lists them")
    return Exit.OK


def _findings(release: Release) -> list[StagewrightError]:
    """Return the surprising places that have no error."""
    known = {problem.place for problem in release.problems}
    every = [finding for member in release.members for finding in member.spec.findings]
    return sorted((finding for finding in every if finding.place not in known), key=lambda error: str(error.place))


def _data(
    release: Release, errors: list[StagewrightError], findings: list[StagewrightError]
) -> dict[str, int | list[dict[str, object]]]:
    notices = sorted(release.notices, key=lambda notice: notice.place)
    return {
        "specs": len(release.members),
        "errors": [error.to_dict() for error in (ProblemsError(errors).problems if errors else [])],
        "findings": [finding.to_dict() for finding in findings],
        "notices": [notice.to_dict() for notice in notices],
    }
