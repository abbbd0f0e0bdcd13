"""The files that stages make, for references that need a certain form: an image, a set for network boot.

The table has the kinds of Stagewright. What a kind of another package makes is unknown, so references to it are valid.
It is here and not in the classes of the kinds, because it must not change their keys (graph/code_digest.py).
"""

from __future__ import annotations

import enum


class Form(enum.StrEnum):
    """Form of the files of a stage, in the words of messages."""

    ISO = "an ISO"
    DISK = "a disk image"
    NETWORK_SET = "a set for network boot"
    PAYLOAD = "a payload"
    KERNELS = "kernels"
    TARBALL = "a tarball"
    PACKAGES = "binary packages"
    FEED = "an update feed"

    @property
    def tested_by(self) -> str:
        """The setting of a test that starts it, or "" if none does."""
        return {Form.ISO: "boots", Form.DISK: "boots", Form.NETWORK_SET: "netboots"}.get(self, "")

    @property
    def kinds(self) -> list[str]:
        """The kinds of stages that make it."""
        return [kind for kind, form in FORMS.items() if form is self]


FORMS = {
    "binhost": Form.PACKAGES,
    "diskimage-stage2": Form.DISK,
    "livecd-stage2": Form.PAYLOAD,
    "livecd-stage3": Form.ISO,
    "netboot": Form.KERNELS,
    "pxeboot": Form.NETWORK_SET,
    "tarball": Form.TARBALL,
    "update-feed": Form.FEED,
}
"""The form of the files of each kind of stage that makes files."""
