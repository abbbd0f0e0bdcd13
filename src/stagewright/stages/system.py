"""What the stages of a whole system share: the configuration that they ship, and the records that they empty."""

from __future__ import annotations

from stagewright.portage.emerge import Portage
from stagewright.portage.repos import profile_link
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.stages.base import Work
from stagewright.stages.packages import PackageStage

MAKE_CONF = "/etc/portage/make.conf"
WORLD = ("/var/lib/portage/world", "/var/lib/portage/world_sets")


def ship_configuration(stage: PackageStage, root: Root, portage: Portage, work: Work) -> None:
    """Write the profile link and make.conf that go with a system, so that it builds more as it was built (R4).

    A stage without settings of its own leaves the make.conf of its root as it is. What the confdirs hold is for the
    build alone; an overlay ships more.
    """
    if stage.profile:
        link = profile_link(stage.profile, portage.repos)
        files.make_link(root.path, "/etc/portage/make.profile", f"../..{link}", epoch=work.epoch)
    lists = {name: " ".join(words) for name, words in stage.lists.items()}
    settings = {**stage.flags, **lists, **stage.make_conf}
    if settings or not files.exists(root.path, MAKE_CONF):
        text = "# These settings were used to build this system; see make.conf(5).\n"
        text += "".join(f'{name}="{value}"\n' for name, value in settings.items())
        files.write_file(root.path, MAKE_CONF, text, epoch=work.epoch)


def empty_world(root: Root, work: Work) -> None:
    """Forget what was asked for by name: a system has its profile's set, and nothing more (R4)."""
    for path in WORLD:
        if files.exists(root.path, path):
            files.write_file(root.path, path, "", epoch=work.epoch)
