"""``stagewright verify`` for releases, by path or address."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from stagewright.errors import ProblemsError, Reason, StagewrightError
from stagewright.release.seen import SeenReleases, default_state
from stagewright.release.signing import MINISIGN_PATTERN
from stagewright.release.verify_provenance import Origin
from stagewright.release.verify_release import TrustedKeys, VerifiedRelease, verify_place
from stagewright.ui.text import plural, size
from stagewright.untrusted import TEXT_LIMIT

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Trust:
    """The keys that a user trusts, the state file, the wanted release, and if signatures are not required."""

    keys: TrustedKeys
    state: Path | None = None
    unsigned: bool = False
    release: str = ""

    @property
    def given(self) -> bool:
        """True if any of the options was given."""
        return bool(self.keys.openpgp or self.keys.minisign or self.state or self.unsigned or self.release)


def key_options(function: Function) -> Callable[..., Any]:
    """Add the options with the trusted keys; the command gets them as ``trust``."""

    @functools.wraps(function)
    def with_trust(
        *arguments: Any,
        key: tuple[Path, ...],
        fingerprint: tuple[str, ...],
        minisign: tuple[str, ...],
        state: Path | None,
        unsigned: bool,
        release: str | None,
        **others: Any,
    ) -> Any:
        keys = TrustedKeys(key, fingerprint, tuple(map(_minisign_key, minisign)))
        return function(*arguments, trust=Trust(keys, state, unsigned, release or ""), **others)

    file = click.Path(path_type=Path, dir_okay=False)
    decorated: Callable[..., Any] = with_trust
    seen = "Releases: the file with the newest versions seen (default: ~/.local/state/stagewright/releases.json)."
    for decorate in (
        click.option("--release", metavar="PROJECT/NAME", help="Releases: the release that it must be."),
        click.option("--unsigned", is_flag=True, help="Releases: verify digests and completeness only."),
        click.option("--state", type=file, help=seen),
        click.option("--minisign", multiple=True, metavar="KEY", help="Releases: a key of minisign, or its file."),
        click.option(
            "--fingerprint", multiple=True, metavar="FPR", help="Releases: a trusted OpenPGP key. Can be repeated."
        ),
        click.option(
            "--key", multiple=True, type=file, help="Releases: a file with trusted OpenPGP keys. Can be repeated."
        ),
    ):
        decorated = decorate(decorated)
    return decorated


def _minisign_key(word: str) -> str:
    """Return a public key of minisign, from the command line or from a file.

    A word that is a key is never a file: a server can have a file of this name. Raises: USAGE if it is neither.
    """
    if re.fullmatch(MINISIGN_PATTERN, word):
        return word
    try:
        lines = Path(word).read_text(encoding="ascii")[:TEXT_LIMIT].split("\n")
    except (OSError, ValueError) as error:
        raise _no_minisign_key(word) from error
    key = lines[1] if lines[0].startswith("untrusted comment:") and len(lines) > 1 else lines[0]
    if not re.fullmatch(MINISIGN_PATTERN, key.strip()):
        raise _no_minisign_key(word)
    return key.strip()


def _no_minisign_key(word: str) -> StagewrightError:
    hint = "name the line of minisign.pub that begins with RW, or the file"
    return StagewrightError(
        Reason.USAGE, f"--minisign {word}: neither a public key of minisign nor its file", hint=hint
    )


def verify_releases(places: Sequence[str], trust: Trust, *, as_json: bool, quiet: bool) -> None:
    """Verify the releases at these paths and addresses, and print the result. Raises every problem at once."""
    keys = trust.keys
    if not (keys.openpgp or keys.minisign or trust.unsigned):
        what = "verify: no keys to verify the release with"
        hint = "name them: --key FILE, --fingerprint FPR or --minisign KEY; or check digests only: --unsigned"
        raise StagewrightError(Reason.USAGE, what, hint=hint)
    seen = SeenReleases(trust.state or default_state())
    found: list[VerifiedRelease] = []
    problems: list[StagewrightError] = []
    for place in places:
        try:
            found += verify_place(place, keys, None if trust.unsigned else seen, trust.release)
        except ProblemsError as error:
            problems += error.problems
        except StagewrightError as error:
            problems.append(error)
    if as_json:
        failed = [error.to_dict() for error in problems]
        print(json.dumps({"releases": [asdict(one) for one in found], "problems": failed}, indent=2))
    elif not quiet:
        for one in found:
            print(_line(one))
    if problems:
        raise problems[0] if len(problems) == 1 else ProblemsError(problems)


def _line(found: VerifiedRelease) -> str:
    day = time.strftime("%Y-%m-%d", time.gmtime(found.date))
    signed = f"signed by {', '.join(found.signers)}" if found.signers else "signatures not verified"
    text = f"{found.release} {found.version} of {day}: {plural(found.files, 'file')}, {size(found.bytes)}, {signed}"
    text = text if found.listed else f"{text} (a web server cannot be searched for other files)"
    return "\n".join([text, *_origin(found.origin)])


def _origin(origin: Origin) -> Iterator[str]:
    """Yield lines that say what a release was made of."""
    if origin.commit:
        place = f" of {origin.url}" if origin.url else ""
        changed = ", with changes that are not committed" if origin.changed else ""
        yield f"  made of commit {origin.commit}{place}{changed}"
    if origin.lock:
        yield f"  made with the lock whose SHA256 is {origin.lock}"
