"""``stagewright completion``: scripts that complete command lines."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from stagewright.ui.streams import document

SHELLS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}

FILES = {
    "bash": "share/bash-completion/completions/stagewright",
    "zsh": "share/zsh/site-functions/_stagewright",
    "fish": "share/fish/vendor_completions.d/stagewright.fish",
}
"""Places of the scripts below a prefix such as /usr, where the shells look for them."""

VARIABLE = "_STAGEWRIGHT_COMPLETE"


def script(shell: str) -> str:
    """Return the script for a shell, which asks stagewright for the words."""
    complete = SHELLS[shell](click.Command("stagewright"), {}, "stagewright", VARIABLE)
    return complete.source_template % complete.source_vars()


@click.command(name="completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
def command(shell: str) -> None:
    """Print the script that completes command lines in a shell.

    Commands, options, and the names of stages, seeds, tests and kinds are completed. The
    wheel installs the scripts; without it:

    \b
      stagewright completion bash > ~/.local/share/bash-completion/completions/stagewright
      stagewright completion zsh > ~/.zfunc/_stagewright
      stagewright completion fish > ~/.config/fish/completions/stagewright.fish
    """
    document(script(shell))
