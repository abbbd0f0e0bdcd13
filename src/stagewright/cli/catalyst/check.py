"""``stagewright catalyst check``."""

from __future__ import annotations

import json

import click

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.release import Release
from stagewright.cli.options import specs_options
from stagewright.dropin.project import Specs, load_specs
from stagewright.errors import Exit, ProblemsError, StagewrightError
from stagewright.ui.streams import note
from stagewright.ui.text import plural


@click.command(name="check")
@specs_options
@click.option("--strict", is_flag=True, help="Also refuse what Catalyst reads otherwise than the author meant.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(
    specs: Specs,
    strict: bool,
    as_json: bool,
) -> int:
    """Report everything that is wrong with specs, at once.

    SPEC is a file, or a folder in which all *.spec files are read; the sets of a
    catalyst-auto configuration need none. Each error is a line
    "file:line:column: what", followed by a remedy; notes tell what is not wrong but
    worth a look, among it what Catalyst takes and we refuse (see `stagewright catalyst
    keys`). Nothing is built, and no shell is run. Packages and profiles are looked for
    in the repositories given by --repo.

    With --strict, places where Catalyst's rules surely surprise are errors as well: a
    colon in a list, a key given twice, a # in a word, a missing value.

    \b
      stagewright catalyst check releases/specs/amd64 --strict
      stagewright catalyst check --conf tools/catalyst-auto-amd64.conf
      stagewright catalyst check x.spec --set TIMESTAMP=20260628T164555Z
    """
    loaded = load_specs(specs)
    release = loaded.release
    known = {problem.place for problem in release.problems}
    release.problems += [problem for problem in loaded.model_problems() if problem.place not in known]
    refused = [Notice(error.place, f"refused: {error.message}") for error in loaded.converted.refused if error.place]
    release.notices += [*loaded.converted.notices, *refused]
    findings = _findings(release)
    errors = release.problems + (findings if strict else [])
    if as_json:
        print(json.dumps(_data(release, errors, findings), indent=2))
        return Exit.INVALID if errors else Exit.OK
    for notice in sorted(release.notices, key=lambda notice: notice.place):
        note(f"note: {notice}")
    if errors:
        raise ProblemsError(errors)
    print(f"{plural(len(release.members), 'spec')}; nothing wrong")
    if findings:
        print(f"{plural(len(findings), 'place')} where the rules of specs surprise: --strict names them")
    return Exit.OK


def _findings(release: Release) -> list[StagewrightError]:
    """What surprises, without the places that are wrong anyway."""
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
