"""``stagewright catalyst keys``."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from stagewright.catalyst.convert.key_table import KeyLine, lines, markdown
from stagewright.catalyst.spec_keys import Target
from stagewright.ui.streams import document
from stagewright.ui.text import plural

_TARGETS = click.Choice([target.value for target in Target])


@click.command(name="keys")
@click.argument("targets", nargs=-1, metavar="[TARGET]...", type=_TARGETS)
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print the page docs/catalyst-keys.md.")
def command(targets: tuple[str, ...], as_json: bool, as_markdown: bool) -> None:
    """Show how each key of specs is supported.

    The keys are those of all targets, or of the given ones.

    \b
    honoured                      works as in Catalyst
    honoured, with a difference   works, with the difference that is described
    refused                       an error; the text says what to write instead
    without effect                accepted without effect, as in Catalyst

    The conversion of specs uses the same table.

    \b
      stagewright catalyst keys livecd-stage2
      stagewright catalyst keys --json | jq '.[] | select(.status == "refused").key'
    """
    found = lines([Target(target) for target in targets] or list(Target))
    if as_json:
        print(json.dumps([line.to_dict() for line in found], indent=2))
    elif as_markdown:
        document(markdown(found))
    else:
        _print(found)


def _print(found: Sequence[KeyLine]) -> None:
    for line in found:
        print(f"{line.key}: {line.meaning}")
        print(f"    {', '.join(line.targets)}: {line.status}{f' by {line.setting}' if line.setting else ''}")
        print(f"    {line.words}")
    print(plural(len(found), "row"))
