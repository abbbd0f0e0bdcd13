"""stage4: a system made out of another, with packages, users, services and files (R5, R7).

Takes any root: a stage3, a seed, another stage4, to any depth; yields a layer. In this order: kernel, packages,
overlays; then everything else that is asked for is checked against the root, and all that cannot be done is told at
once; then groups and users, time zone and locales, services, the script, which finds all that in place; then removals,
and the size of what is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from stagewright.chroot import inside
from stagewright.kernel.modules import KernelSettings, install_kernel, rebuild_modules
from stagewright.kinds.common.context import PackageContext
from stagewright.kinds.common.finish import Finish, conclude, with_files
from stagewright.kinds.common.packages import PackageStage, layer
from stagewright.kinds.common.system import Shipped, ship_configuration
from stagewright.kinds.common.work import Built, Work
from stagewright.portage.emerge import InstallRequest, Portage
from stagewright.portage.installed import packages_of
from stagewright.root.accounts import AccountName, Accounts, Group, Password, User, check_numbers, plan_accounts
from stagewright.root.budget import Size, check_size
from stagewright.root.homes import apply_accounts, read_keys
from stagewright.root.local import Local, apply_local, missing_local
from stagewright.root.requirements import MissingRequirement, raise_missing
from stagewright.root.root import Root
from stagewright.root.services import Services, apply_services, missing_service


class Stage4(PackageStage, Finish, Local, Shipped, kind="stage4"):
    """A stage of kind ``stage4``."""

    protects = True

    kernel: KernelSettings | None = None
    """A kernel, and packages with modules that fit it."""
    groups: dict[AccountName, Group] = {}
    """Groups that the root shall have, by name."""
    users: dict[AccountName, User] = {}
    """Users that the root shall have, by name; `root` too can be set here."""
    root_password: Password | None = None
    """The password of root: a crypt(5) hash, `locked`, or `empty`."""
    services: Services = Services()
    """What runs at boot, for OpenRC and systemd."""
    depclean: Literal["keep-build", "all"] | None = Field(default=None, exclude_if=lambda value: value is None)
    """Before `unmerge`, remove what neither the world nor the system set needs; `keep-build` spares what these
    are built with."""
    size: Size | None = None
    """How large the files of the whole root may be together, such as 500M (powers of 1024)."""

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
            facts = {"hint": "leave one of the two out"}
            raise PydanticCustomError("password", "root has a password in root_password and in users.root", facts)
        return self

    @property
    def uses_portage(self) -> bool:
        """To install or remove packages, and to set the profile; a root without Portage is fine otherwise."""
        return bool(self.packages or self.unmerge or self.kernel or self.profile or self.depclean)

    def installs(self, portage: Portage) -> Iterator[InstallRequest]:
        """The kernel, and the packages."""
        kernel = [self.kernel.package] if self.kernel and self.kernel.package else []
        yield InstallRequest([*kernel, *self.packages], options=["--newuse", "--deep", "--update"])

    def build(self, work: Work[PackageContext]) -> Built:
        """Change the root, keep the changes as a layer."""
        root, portage = self.portage(work)
        keys, lacks = self._keys(work)
        raise_missing([*lacks, *(lack for lack in self._accounts(root, keys, work).lacks if lack.certain)])
        self._packages(root, portage, work)
        with_files(self, root, work)
        accounts = self._accounts(root, keys, work)
        raise_missing([*accounts.lacks, *inside(root.path, missing_service, self.services), *missing_local(self, root)])
        if accounts.homes or self.groups:
            inside(root.path, apply_accounts, accounts)
        apply_local(self, root, work.epoch)
        apply_services(self.services, root, work.epoch)
        if self.depclean:
            portage.depclean(keep_build=self.depclean == "keep-build")
        facts = conclude(self, root, work, portage)
        packages = Counter({package.name: package.size for package in packages_of(root.path, [facts.remembered])})
        size = check_size(root.path, self.size, packages) if self.size else None
        facts = facts.model_copy(update={"package_count": len(packages), "bytes": size})
        return layer(root, work, portage, facts)

    def _packages(self, root: Root, portage: Portage, work: Work[PackageContext]) -> None:
        version = install_kernel(self.kernel, root, portage, work.epoch) if self.kernel else None
        portage.install(self.packages, options=["--newuse", "--deep", "--update"])
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
        """The public keys of each user, from the files of the project."""
        keys: dict[str, tuple[str, ...]] = {}
        lacks: list[MissingRequirement] = []
        for user, settings in self.users.items():
            for name in settings.authorized_keys:
                lines, wrong = read_keys(name, work.files[name].read_text(errors="replace", encoding="utf-8"))
                keys[user] = (*keys.get(user, ()), *lines)
                lacks += wrong
        return keys, lacks
