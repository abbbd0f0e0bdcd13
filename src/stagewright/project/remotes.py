"""``[remotes.NAME]``: stores on other machines, from which a build takes results, and to which it gives them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stagewright.project.fields import Matching, SecretPath, Section

Signer = Annotated[
    str,
    Matching(
        r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}|RW[A-Za-z0-9+/]{53,54}=?",
        "the fingerprint of an OpenPGP key, or a public key of minisign",
    ),
]
"""A key that signs: a fingerprint, or the last line of ``minisign.pub``."""

AMOUNT = r"[1-9][0-9]*[MGT]"
"""An amount of data, such as 500G."""


class Remote(Section):
    """``[remotes.NAME]``: a remote store. These settings change neither results nor keys."""

    url: Annotated[str, Matching(r"\S(.*\S)?", "a folder, or an address such as s3://bucket/store")]
    """A folder (relative to the project, absolute, or below `~`), or an address: `sftp://`, `s3://`, `https://` (only
    for reading), `oci://HOST/NAME`, or another one that fsspec knows."""
    priority: int = 0
    """Remotes with a higher priority are asked first. Those with the same priority are asked by name."""
    pull: bool = True
    """Take results from it in builds."""
    push: bool = False
    """Give it the results of each build. Without this, only `--push` does."""
    read_only: bool = False
    """Never write to it. Places on web servers are always read-only."""
    signers: list[Signer] = []
    """Keys that must have signed a result, or a file of a cache: fingerprints of OpenPGP keys, public keys of minisign.
    Without any, results are accepted unsigned."""
    keyring: SecretPath | None = None
    """A file with the OpenPGP keys of `signers`, as `gpg --export` writes it."""
    sign: Annotated[str, Matching(r"[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64}", "the fingerprint of an OpenPGP key")] | None = (
        None
    )
    """The fingerprint of the OpenPGP key that signs what is pushed; your GnuPG must have the secret key."""
    size: Annotated[str, Matching(AMOUNT, "a number with M, G or T")] | None = None
    """The size above which `stagewright store gc` removes the results that were not used for the longest time."""
    endpoint: Annotated[str, Matching(r"https?://\S+", "http:// or https://")] | None = None
    """The address of an S3 service that is not Amazon's."""
    ssh_config: SecretPath | None = None
    """A configuration file for ssh(1). Default: that of the user."""
    connections: Annotated[int, Field(ge=1, le=64)] = 8
    """The number of transfers at the same time."""
