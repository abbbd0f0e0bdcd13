"""``stagewright catalyst graph``."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stagewright.catalyst.auto import Notice
from stagewright.catalyst.estimate import Estimate, estimate
from stagewright.catalyst.load_release import load
from stagewright.catalyst.release import Release
from stagewright.catalyst.release_graph import ReleaseGraph, SpecResult
from stagewright.catalyst.tokens import parse_settings
from stagewright.cli.catalyst.report import print_notices
from stagewright.cli.options import picture_option, release_options, show_picture
from stagewright.errors import Exit, ProblemsError
from stagewright.graph.draw import Picture, draw
from stagewright.ui.streams import note
from stagewright.ui.text import error_text, plural


@click.command(name="graph")
@release_options
@picture_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each spec.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Estimate the time with so many specs at the same time.",
)
def command(
    specs: tuple[Path, ...],
    conf: tuple[Path, ...],
    given: tuple[str, ...],
    picture: str,
    as_json: bool,
    jobs: int | None,
) -> int:
    """Show what each spec makes, and from which sources.

    SPEC is a spec, or a folder whose *.spec files are read. With the configuration of
    catalyst-auto no SPEC is needed. Results have the name
    REL_TYPE/TARGET-SUBARCH-VERSION_STAMP. Tokens, for example @TIMESTAMP@, stay in it
    unless --set gives them.

    Errors of specs are printed after the graph, which also has these specs if their
    results are known. The exit code is then 2. Specs of several trees that make the
    same file are in one graph, with a note.

    --json prints a list of objects with spec, target, output, sources, artifacts,
    package_cache, sets and optional. With --jobs it prints an object with this list
    (specs) and the estimate.

    \b
      stagewright catalyst graph releases/specs/amd64
      stagewright catalyst graph --conf tools/catalyst-auto-amd64.conf --jobs 4
      stagewright catalyst graph releases/specs --as dot | dot -Tpdf > graph.pdf
    """
    release, graph = load(specs, conf, parse_settings(given))
    broken = {error.place.file for error in release.errors if error.place}
    if release.errors and not any(item.member.spec.file not in broken for item in graph.results):
        raise ProblemsError(release.errors)
    times = estimate(graph, jobs) if jobs else None
    if as_json:
        rows = as_data(graph)
        print(json.dumps({"specs": rows, "estimate": asdict(times)} if times else rows, indent=2))
        return _judged(release)
    show_picture(draw(graph.graph(), Picture(picture)), picture)
    if times:
        comment = {Picture.TEXT: "", Picture.DOT: "// ", Picture.MERMAID: "%% "}.get(Picture(picture))
        lines = [] if comment is None else ["", *_sentences(times, graph)]
        print("".join(f"{comment}{line}\n" if line else "\n" for line in lines), end="")
    return _judged(release)


def _judged(release: Release) -> int:
    """Print notes and errors, and return the exit code."""
    sys.stdout.flush()
    clashes = [Notice(error.place, error.message) for error in release.clashes if error.place]
    print_notices(clashes)
    if release.errors:
        note(error_text(ProblemsError(release.errors)))
    return Exit.INVALID if release.errors else Exit.OK


def as_data(graph: ReleaseGraph) -> list[dict[str, Any]]:
    """Return an object for each spec, in the order of reading."""
    identities = {item.name: item.identity for item in graph.results}
    return [_row(item, identities) for item in graph.results]


def _row(item: SpecResult, identities: dict[str, str]) -> dict[str, Any]:
    made = {role: identities[name] for role, name in item.inputs.items()}
    return {
        "spec": str(item.member.spec.file),
        "target": item.member.spec.text("target"),
        "output": item.identity,
        "sources": [made.get(role, source) for role, source in item.sources.items()],
        "artifacts": list(item.artifacts),
        "package_cache": item.package_cache,
        "sets": list(item.member.sets),
        "optional": item.member.optional,
    }


def _sentences(times: Estimate, graph: ReleaseGraph) -> list[str]:
    levels = ", ".join(map(str, times.levels))
    lines = [
        f"{plural(times.specs, 'spec')} in {plural(len(times.levels), 'level')} of {levels}; "
        f"the longest path has {times.critical_path}",
        f"with {times.jobs} at the same time: {plural(times.makespan, 'step')}, if each spec takes one step",
    ]
    if graph.shared_identities:
        lines.append(f"{plural(times.with_turns, 'step')}, because specs with the same identity take turns")
    if graph.shared_caches:
        lines.append(f"{plural(times.with_caches, 'step')}, if specs that share a package cache take turns too")
    return lines
