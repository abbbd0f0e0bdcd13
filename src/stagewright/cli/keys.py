"""``stagewright keys``: Gentoo's signing keys on a computer without Gentoo."""

from __future__ import annotations

from pathlib import Path

import click

from stagewright.errors import Exit
from stagewright.seeds.gentoo_keyring import default_keyring, existing_keyring, own_keyring
from stagewright.seeds.gentoo_keys import KEYS, KeyState, addresses, fetch_keys, key_states


@click.group(name="keys")
def command() -> None:
    """Get and check Gentoo's signing keys.

    Seeds, repositories and binary package hosts of Gentoo are signed. The fingerprints
    of the keys are part of Stagewright; keys with other fingerprints are never kept.
    """


@command.command()
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="FILE|URL",
    help="A file or an address with keys (default: Gentoo's Web Key Directory and its file of service keys).",
)
@click.option(
    "--keyring",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write (default: one in the user's data folder, which builds find).",
)
def fetch(sources: tuple[str, ...], keyring: Path | None) -> int:
    """Fetch the keys, or what Gentoo has prolonged of them.

    Run it once on a computer without Gentoo, and again after a key has expired.
    """
    target = keyring or own_keyring()
    states = fetch_keys(sources or addresses(), target)
    _show(states)
    print(f"written: {target}")
    return int(Exit.OK)


@command.command(name="list")
def list_keys() -> int:
    """List the trusted fingerprints, with what they sign."""
    for key in KEYS:
        print(f"{key.fingerprint}  {key.signs} ({key.address})")
    place = default_keyring()
    print(f"keyring: {place}" if place.is_file() else f"keyring: {place} (missing; run: stagewright keys fetch)")
    return int(Exit.OK)


@command.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
def check(file: Path | None) -> int:
    """Check that a keyring has the keys, and that all of them are valid.

    FILE is a keyring of a project; default: Gentoo's. The exit code is 1 if a trusted
    key is missing, expired or revoked.
    """
    return int(Exit.OK if _show(key_states(existing_keyring(file))) else Exit.FAILED)


def _show(states: list[KeyState]) -> bool:
    """Print each trusted key. Return True if all are good."""
    found = {state.fingerprint: state for state in states}
    for key in KEYS:
        state = found.get(key.fingerprint)
        said = "missing" if state is None else state.problem or f"valid until {state.day}"
        soon = "; run: stagewright keys fetch" if state and state.ends_soon else ""
        print(f"{key.fingerprint}  {said}{soon}  ({key.signs})")
    good = {state.fingerprint for state in states if not state.problem}
    return all(key.fingerprint in good for key in KEYS if key.needed)
