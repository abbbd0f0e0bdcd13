"""``stagewright schema``."""

from __future__ import annotations

import json

import click

from stagewright.kinds.registry import kinds
from stagewright.project.schema import schema


@click.command(name="schema")
def command() -> None:
    """Print the JSON schema of project files.

    Editors with support for TOML use it to complete and check stagewright.toml.

    \b
      stagewright schema > stagewright.schema.json
    """
    print(json.dumps(schema(kinds()), indent=2))
