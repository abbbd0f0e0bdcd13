"""The PKGDIR of one build: the packages that are lent to it, and those that it makes (``root/lent.py``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path

from stagewright.errors import Reason, StagewrightError
from stagewright.lazy_dataclass import dataclass
from stagewright.portage import gpkg
from stagewright.portage.ebuilds import is_version
from stagewright.root.lent import LentFolder


@dataclass(frozen=True)
class Pkgdir(LentFolder):
    """The packages of one build. ``made`` are the packages (category/name-version) that the build is to make.

    ``epoch`` is the time of the packages that it makes, in seconds since 1970; None keeps their own times.
    """

    epoch: int | None = None
    made: set[str] = field(default_factory=set)
    _rejected: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def take(self) -> list[Path]:
        """Copy packages that the build has finished since the last call to ``kept``. Return the copies.

        Files that are not complete packages, or that the build is not to make, stay where they are.
        """
        found = []
        for name in self.written(gpkg.SUFFIX):
            try:
                with self.copied(name) as file:
                    self._date(self._check(file, name), file)
                found.append(self.kept / name)
                self._rejected.pop(name, None)
            except StagewrightError as error:
                if error.reason is not Reason.BAD_ARCHIVE:
                    raise
                self._rejected[name] = error.message
            except OSError as error:
                if error.filename != name:
                    raise
                self._rejected[name] = str(error.strerror)
        return found

    def report(self, notice: Callable[[str], None]) -> None:
        """Report the files that were not taken over."""
        for name, why in sorted(self._rejected.items()):
            notice(f"binary package {name} is not kept: {why}")

    def _date(self, package: gpkg.BinaryPackage, file: Path) -> None:
        """Replace the times in a package. A signed one stays as it is."""
        if self.epoch is None or package.is_signed:
            return
        dated = file.with_name("dated")
        dated.unlink(missing_ok=True)
        gpkg.date(package, dated, self.epoch)
        dated.chmod(0o444)
        dated.rename(file)

    def _check(self, file: Path, name: str) -> gpkg.BinaryPackage:
        """Return the package in a file.

        Raises: BAD_ARCHIVE if it is not the package that its path names, or if the build must not make it.
        """
        filename = name.rpartition("/")[2]
        if name.count("/") != 2:
            raise gpkg.invalid(Path(filename), "its folder is not category/name")
        category, short, _ = name.split("/")
        stem = filename.removesuffix(gpkg.SUFFIX)
        package = gpkg.read(file)
        data = package.metadata(self.folder)
        said = {
            key: data.get(key, b"")[:300].decode(errors="replace").strip() for key in ("CATEGORY", "PF", "BUILD_ID")
        }
        if (said["CATEGORY"], f"{said['PF']}-{said['BUILD_ID']}") != (category, stem) or package.basename != stem:
            raise gpkg.invalid(Path(filename), f"it is {said['CATEGORY']}/{said['PF']}, build {said['BUILD_ID']}")
        if not said["PF"].startswith(f"{short}-") or not is_version(said["PF"].removeprefix(f"{short}-")):
            raise gpkg.invalid(Path(filename), f"it is not in the folder of its name ({short})")
        if f"{category}/{said['PF']}" not in self.made:
            raise gpkg.invalid(Path(filename), "this build is not to make it")
        return package

    def packages(self) -> Iterator[Path]:
        """Yield the packages that the build was lent or has made, as files that no root can change."""
        return self.files(gpkg.SUFFIX)
