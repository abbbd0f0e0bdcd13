"""Small releases for tests: specs, and a folder with everything that the specs name."""

from __future__ import annotations

from pathlib import Path

from stagewright.catalyst.release import Member
from stagewright.catalyst.spec import read_spec
from stagewright.catalyst.spec_keys import Target, ValueType
from stagewright.catalyst.tokens import replace_tokens
from stagewright.dropin.project import Loaded, load_release
from stagewright.graph.file_digest import tree_digest
from stagewright.graph.keys import Key, KeySources, keys_of
from stagewright.kinds.registry import graph_of
from stagewright.project.model import Project

STAMP = "20260628T164555Z"

HEAD = """\
subarch: amd64
rel_type: 1.0
snapshot_treeish: 0123456789012345678901234567890123456789
profile: default/linux/amd64/1.0
"""

SPECS = {
    "stage1": """\
target: stage1
version_stamp: openrc-@TIMESTAMP@
source_subpath: 1.0/stage3-amd64-openrc-latest
compression_mode: pixz
update_seed: yes
update_seed_command: -uDN @world
portage_confdir: @REPO_DIR@/portage/stages
portage_prefix: releng
cflags: -O1
""",
    "stage3": """\
target: stage3
version_stamp: openrc-@TIMESTAMP@
source_subpath: 1.0/stage1-amd64-openrc-@TIMESTAMP@
compression_mode: zstd
portage_confdir: @REPO_DIR@/portage/stages
""",
    "stage4": """\
target: stage4
version_stamp: server-@TIMESTAMP@
source_subpath: 1.0/stage3-amd64-openrc-@TIMESTAMP@.tar.zst
rename_regexp: s_.tar.bz2$_.wsl_
stage4/use: -doc
stage4/packages: app-misc/hello plain
stage4/fsscript: files/script.sh
stage4/root_overlay: files/overlay
stage4/rcadd: sshd|default local|boot cron
stage4/rcdel: netmount|default
stage4/unmerge: app-misc/gone
stage4/rm: /etc/x* /tmp/{odd}
stage4/empty: /var/tmp
stage4/groups: staff
stage4/users: larry=staff,wheel gnu
stage4/ssh_public_keys: larry=files/key.pub
""",
    "livecd-stage1": """\
target: livecd-stage1
version_stamp: @TIMESTAMP@
source_subpath: 1.0/stage3-amd64-openrc-@TIMESTAMP@
livecd/use: fbcon
livecd/packages: app-misc/livecd-tools
""",
    "livecd-stage2": """\
target: livecd-stage2
version_stamp: @TIMESTAMP@
source_subpath: 1.0/livecd-stage1-amd64-@TIMESTAMP@
livecd/fstype: squashfs
livecd/fsops: -comp xz -b 512k
livecd/iso: install-amd64-@TIMESTAMP@.iso
livecd/type: gentoo-release-minimal
livecd/volid: Gentoo amd64 @DATESTAMP@
livecd/bootargs: dokeymap nodhcp
livecd/modblacklist: radeon nouveau
livecd/unmerge: app-misc/gone
livecd/empty: /usr/src
boot/kernel: gentoo
boot/kernel/gentoo/distkernel: yes
boot/kernel/gentoo/dracut_args: --xz -a mdraid -o "btrfs" -I busybox
boot/kernel/gentoo/packages: --usepkg n sys-fs/zfs
""",
    "diskimage-stage1": """\
target: diskimage-stage1
version_stamp: console-@TIMESTAMP@
source_subpath: 1.0/stage3-amd64-openrc-@TIMESTAMP@
diskimage/packages: app-misc/hello
""",
    "diskimage-stage2": """\
target: diskimage-stage2
version_stamp: @TIMESTAMP@
source_subpath: 1.0/diskimage-stage1-amd64-console-@TIMESTAMP@
diskimage/qcow2: di-amd64-console-@TIMESTAMP@.qcow2
diskimage/type: console
diskimage/unmerge: app-misc/gone
diskimage/depclean: keepbdeps
boot/kernel: gentoo
boot/kernel/gentoo/distkernel: yes
""",
    "embedded": """\
target: embedded
version_stamp: tiny-@TIMESTAMP@
source_subpath: 1.0/stage3-amd64-openrc-@TIMESTAMP@
install_mask: /usr/share/doc
embedded/packages: app-misc/hello
embedded/root_overlay: files/overlay
""",
    "netboot": """\
target: netboot
version_stamp: small-@TIMESTAMP@
source_subpath: 1.0/stage3-amd64-openrc-@TIMESTAMP@
boot/kernel: gentoo
boot/kernel/gentoo/sources: sys-kernel/gentoo-sources
boot/kernel/gentoo/config: files/small.config
boot/kernel/gentoo/gk_kernargs: --all-ramdisk-modules
netboot/use: -* readline
netboot/packages: app-misc/hello app-misc/world
netboot/packages/app-misc/hello/files: /usr/bin/hello
netboot/packages/app-misc/world/files: /usr/bin/world /usr/lib64/libworld.so.*
netboot/extra_files: etc/hosts
netboot/root_overlay: files/overlay
netboot/overlay: files/image
netboot/busybox_config: files/busybox.config
netboot/linuxrc: files/linuxrc
""",
}
"""One spec for each target, which start from each other."""


class World:
    """A folder with specs, a storedir, a repository, and everything that the specs name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.specs = folder / "specs"
        self.storedir = folder / "storedir"
        self.repo = folder / "gentoo"
        self.conf = folder / "catalyst.conf"
        self.specs.mkdir(parents=True)
        self.storedir.mkdir()
        (self.repo / "profiles").mkdir(parents=True)
        (self.repo / "profiles" / "repo_name").write_text("gentoo\n", encoding="utf-8")
        self.conf.write_text(f'storedir = "{self.storedir}"\n', encoding="utf-8")
        self.given = {"REPO_DIR": str(folder), "TIMESTAMP": STAMP, "DATESTAMP": "20260629"}

    def write(self, name: str, text: str, head: str = HEAD) -> Path:
        """Write a spec and everything that it names."""
        file = self.specs / f"{name}.spec"
        file.write_text(head + text, encoding="utf-8")
        self.provide(file)
        return file

    def write_all(self) -> None:
        """Write all specs of this module."""
        for name, text in SPECS.items():
            self.write(name, text)

    def provide(self, file: Path) -> None:
        """Make the profile, the packages and the files that a spec names."""
        member = Member(read_spec(file))
        spec = member.spec
        for name, entry in spec.entries.items():
            key = member.keys.get(name)
            words = [replace_tokens(word, self.given) for word in entry.words]
            if name == "profile":
                (self.repo / "profiles" / words[0]).mkdir(parents=True, exist_ok=True)
            if name.endswith("/packages") or name.endswith("/sources"):
                self.packages(words)
            if key and key.value_type.path and entry.value is not None:
                for word in words:
                    self.file(file.parent / word, folder=key.value_type is ValueType.PATHS or name == "portage_confdir")
        if "boot/kernel" in spec.entries:
            self.packages(["sys-kernel/genkernel"])
        if any("distkernel" in name for name in spec.entries):
            self.packages(["sys-kernel/gentoo-kernel"])
        for word in spec.words(f"{spec.text('target')}/ssh_public_keys"):
            self.file(file.parent / word.partition("=")[2], folder=False)

    def packages(self, words: list[str]) -> None:
        """Make these packages in the repository."""
        for word in words:
            if word.startswith("-") or len(word) == 1:
                continue
            category, _, name = word.rpartition("/")
            place = self.repo / (category or "app-misc") / name
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{name}-1.ebuild").touch()

    def file(self, path: Path, *, folder: bool) -> None:
        """Make a file or a folder, unless it exists or is outside of this folder."""
        if path.exists() or not path.resolve().is_relative_to(self.folder.resolve()):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            path.mkdir()
            (path / "file").write_text(path.name, encoding="utf-8")
        else:
            path.write_text(path.name, encoding="utf-8")

    def seed(self, name: str) -> Path:
        """Make a file below builds."""
        path = self.storedir / "builds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
        return path

    def load(self, *specs: Path, **given: str) -> Loaded:
        """Return the specs (default: all) as a project."""
        self.seed("1.0/stage3-amd64-openrc-20260101T000000Z.tar.xz")
        return load_release(specs or [self.specs], [self.conf], {**self.given, **given}, {"gentoo": self.repo})


def keys_in(project: Project) -> dict[str, Key]:
    """Return the keys of a project, with real files and stand-ins for tools."""
    sources = KeySources(
        code=lambda kind: kind,
        tree=lambda path: tree_digest(path) if path.exists() or not project.missing else "not there",
        tool=lambda tool: tool,
    )
    return keys_of(graph_of(project), sources)


def targets() -> set[Target]:
    """Return the targets of the specs of this module."""
    return {Target(name) for name in SPECS}
