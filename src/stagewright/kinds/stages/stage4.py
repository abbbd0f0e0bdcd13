"""stage4: a system based on another root, with packages, users, services and files.

Input: any root, such as a seed, a stage3 or another stage4; chains can have any length. The result is a layer.

Before it installs packages, Stagewright checks the SSH keys, and accounts, services, time zone, locales and keymap
against the root. What a package can still bring, such as a shell or a service, is a note. Then the order is:

1. kernel, packages, overlays, and the texts of /etc such as the host name;
2. the other settings are checked against the root; all errors are reported together;
3. groups and users, time zone and locales, services;
4. depclean;
5. the script;
6. unmerge, rm, empty, and the check of the size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from stagewright.chroot import inside
from stagewright.kernel.modules import SystemKernel, configure_installation, install_kernel, rebuild_modules
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.finish import Finish, add_files, run_script_and_remove
from stagewright.kinds.common.packages import PackageStage
from stagewright.kinds.common.system import BinrepoSettings, ship_configuration
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.fetch_request import FetchRequest
from stagewright.portage.installed import packages_of
from stagewright.root.accounts import AccountName, Accounts, Group, Password, User, check_numbers, plan_accounts
from stagewright.root.budget import Size, check_size
from stagewright.root.homes import apply_accounts, read_keys
from stagewright.root.local import Local, apply_local, missing_local_settings
from stagewright.root.requirements import MissingRequirement, asked_early, raise_if_missing
from stagewright.root.services import Services, apply_services, missing_services

if TYPE_CHECKING:
    from stagewright.portage.emerge import Portage
    from stagewright.root.root import Root

OPTIONS = ("--newuse", "--deep", "--update")
"""Options of emerge(1) for the packages."""


class Stage4(PackageStage, Finish, Local, BinrepoSettings, kind="stage4"):
    """A stage of kind ``stage4``."""

    keeps_changed_etc = True

    kernel: SystemKernel | None = None
    """The kernel. Packages with kernel modules are rebuilt for it."""
    groups: dict[AccountName, Group] = {}
    """Groups of the root, by name."""
    users: dict[AccountName, User] = {}
    """Users of the root, by name; `root` can also be set here."""
    root_password: Password | None = None
    """The password of root: a crypt(5) hash, `locked`, or `empty`. Images of the root contain the hash: a reader of an
    image can try passwords."""
    services: Services = Services()
    """Services that start at boot, for OpenRC and systemd."""
    depclean: Literal["keep-build", "all"] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Before the script, remove packages that neither the world nor the system set needs. `keep-build` also keeps the
    build dependencies of the packages that stay."""
    size: Size | None = None
    """The largest permitted size of all files of the root, such as 500M (powers of 1024)."""

    @field_validator("users", "groups")
    @classmethod
    def _one_number_each(cls, accounts: Mapping[str, User | Group]) -> Mapping[str, User | Group]:
        for kind in ("uid", "gid"):
            check_numbers(kind, accounts)
        return accounts

    @model_validator(mode="after")
    def _one_password(self) -> Stage4:
        root = self.users.get("root")
        if self.root_password is not None and root and root.password is not None:
            facts = {"hint": "remove one of the two"}
            raise PydanticCustomError("password", "root has a password in root_password and in users.root", facts)
        return self

    @property
    def changes_packages(self) -> bool:
        """True if a setting needs emerge(1): packages, kernel, unmerge or depclean."""
        return bool(self.packages or self.unmerge or self.kernel or self.depclean)

    def sources_to_fetch(self, portage: Portage) -> Iterator[FetchRequest]:
        """Yield the kernel and the packages, for ``stagewright fetch``. :meth:`build` does not call this."""
        kernel = [self.kernel.package] if self.kernel and self.kernel.package else []
        yield FetchRequest([*kernel, *self.packages], options=OPTIONS)

    def build(self, work: Work[PackageContext]) -> Built:
        """Change the root, and return the changes as a layer."""
        from stagewright.kinds.common.layer import finish_layer

        root, portage = self.mount_with_portage(work)
        keys, wrong = self._keys(work)
        self._ask_early(root, keys, wrong, work)
        self._packages(root, portage, work)
        add_files(self, root, work)
        accounts = self._accounts(root, keys, work)
        raise_if_missing(self._missing(root, accounts))
        if accounts.homes or self.groups:
            inside(root.path, apply_accounts, accounts)
        apply_local(self, root, work.epoch)
        apply_services(self.services, root, work.epoch)
        if self.depclean:
            portage.depclean(keep_build=self.depclean == "keep-build")
        facts = run_script_and_remove(self, root, work, portage)
        packages = Counter({package.name: package.size for package in packages_of(root.path, [facts.remembered])})
        size = check_size(root.path, self.size, packages) if self.size else None
        facts = facts.model_copy(update={"package_count": len(packages), "bytes": size})
        return finish_layer(root, work, portage, facts)

    def _missing(self, root: Root, accounts: Accounts) -> list[MissingRequirement]:
        return [*accounts.missing, *missing_services(self.services, root), *missing_local_settings(self, root)]

    def _ask_early(
        self,
        root: Root,
        keys: Mapping[str, tuple[str, ...]],
        wrong: Sequence[MissingRequirement],
        work: Work[PackageContext],
    ) -> None:
        """Report what neither packages nor overlays will bring, before hours of building, and note what they must."""
        missing = self._missing(root, self._accounts(root, keys, work))
        kernel = [self.kernel.package] if self.kernel and self.kernel.package else []
        overlays = [work.files[name] for name in self.root_overlay]
        permanent, notes = asked_early(missing, [*kernel, *self.packages], overlays)
        for note in notes:
            work.notice(note)
        raise_if_missing([*wrong, *permanent])

    def _packages(self, root: Root, portage: Portage, work: Work[PackageContext]) -> None:
        if self.kernel:
            configure_installation(self.kernel, root, work.epoch)
        version = install_kernel(self.kernel, root, portage, work.epoch) if self.kernel else None
        portage.install(self.packages, options=OPTIONS)
        if self.kernel and version:
            rebuild_modules(self.kernel, version, root, portage)
        if self.uses_portage:
            ship_configuration(self, root, portage, work)

    def _accounts(self, root: Root, keys: Mapping[str, tuple[str, ...]], work: Work[PackageContext]) -> Accounts:
        users = dict(self.users)
        if self.root_password is not None:
            users["root"] = users.get("root", User()).model_copy(update={"password": self.root_password})
        return inside(root.path, plan_accounts, self.groups, users, keys, work.epoch)

    def _keys(self, work: Work[PackageContext]) -> tuple[dict[str, tuple[str, ...]], list[MissingRequirement]]:
        """Return the SSH keys of each user, from files of the project, and the errors in these files."""
        keys: dict[str, tuple[str, ...]] = {}
        problems: list[MissingRequirement] = []
        for user, settings in self.users.items():
            for name in settings.authorized_keys:
                file = work.files.get(name)
                text = file.read_text(errors="replace", encoding="utf-8") if file else name
                lines, wrong = read_keys(name, text)
                keys[user] = (*keys.get(user, ()), *lines)
                problems += wrong
        return keys, problems
