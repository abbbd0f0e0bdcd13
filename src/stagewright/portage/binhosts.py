"""Binary packages of other machines: fetched, verified with the keys of their host, and then used.

In the fetch step, Portage downloads packages into one folder for each host (``location`` of binrepos.conf). Then
Portage's own code verifies the new packages inside the root, with a keyring that holds only the keys of that host. The
build step has no network; it uses these folders and the downloaded indexes (``frozen``), and Portage verifies again
while it merges. Verified packages are kept for other builds::

    cache/binhosts/<digest of uri and keys>/<path on the host>

A build is lent the packages of the cache. Before a downloaded package enters the cache, Stagewright verifies a copy of
it, outside of the root, which may be hostile. Packages of a host without keys are lent only to builds with the same
inputs.

They do not enter the cache of packages built here (``portage/binpkgs.py``), since no fingerprint describes them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stagewright.chroot import inside
from stagewright.confined import Tree
from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.openpgp import Keyring, checked_keys, first_problem, keyring
from stagewright.graph.file_digest import digest_of, tree_digest
from stagewright.lazy_dataclass import dataclass
from stagewright.portage import gpkg
from stagewright.portage.confdir import make_conf
from stagewright.portage.gpkg import SUFFIX
from stagewright.portage.installed import read_entries
from stagewright.portage.scripts import ask_script
from stagewright.root import files
from stagewright.root.lent import LentFolder
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind
from stagewright.trees import remove_tree

LOCATION = "/var/cache/binhost"
INDEXES = "/var/cache/edb/binhost"
"""Folder of a root in which Portage keeps the indexes of remote hosts."""

CONF = "binrepos.conf"
KEYRING, KEYRINGS = "gnupg", "gnupg.hosts"
CONFDIR = "/etc/portage"

SETTINGS = {
    "PORTAGE_BINHOST": "",
    "PORTAGE_TRUST_HELPER": "",
    "BINPKG_GPG_VERIFY_GPG_HOME": f"{CONFDIR}/{KEYRING}",
}
"""Variables of make.conf that override all others: only the hosts and keys of the project are used."""

_NEEDED = """
from portage.binrepo.config import BinRepoConfig
assert {"frozen", "location"} <= set(BinRepoConfig.__slots__)
"""


@dataclass(frozen=True)
class _Rejected:
    """A package that the root's Portage rejects: its host and path, the error found, and the output of gpg."""

    host: str
    path: str
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path} from binhost {self.host}: {self.what or first_problem(self.detail)[1]}"


@dataclass(frozen=True)
class Host:
    """One host: its settings in the project, its cache in the store, and its folder in one build."""

    name: str
    uri: str
    priority: int
    keys: Path | None  # None: packages are not verified
    caches: Path
    files: LentFolder
    origin: str = ""  # digest of the inputs of the build (Work.origins)

    @property
    def location(self) -> str:
        """Folder of its packages inside the root."""
        return f"{LOCATION}/{self.name}"

    @property
    def cache(self) -> Path:
        """Folder of the store with its verified packages. Other keys give another folder."""
        trusted = tree_digest(self.keys) if self.keys else f"anything {self.origin}"
        return self.caches / hashlib.sha256(f"{self.uri} {trusted}".encode()).hexdigest()[:32]

    @property
    def index(self) -> str:
        """Path of its index below :data:`INDEXES`. Portage leaves the port out of it."""
        place = urlsplit(self.uri)
        return "/".join(filter(None, [place.hostname, place.path.strip("/"), "Packages"]))

    def lend_cached(self) -> None:
        """Lend all packages of the cache to the build."""
        found = sorted(self.cache.rglob(f"*{SUFFIX}"))
        self.files.lend([(source, str(source.relative_to(self.cache))) for source in found])

    def cache_new(self, downloaded: Iterable[str]) -> None:
        """Verify copies of downloaded packages (paths) and add them to the cache, where they replace older ones.

        Raises: BAD_ARCHIVE for an incomplete package, and the reasons of :meth:`Keyring.clearsigned`.
        """
        names = sorted(downloaded)
        with keyring([self.keys]) if self.keys and names else contextlib.nullcontext() as keys:
            for name in names:
                with self.files.copied(name) as file:
                    gpkg.read(file, manifest=self._signed_manifest(file, name, keys) if keys else None)
                _link(self.files.kept / name, self.cache / name)

    def _signed_manifest(self, file: Path, name: str, keys: Keyring) -> bytes:
        """Return the signed text of the Manifest in a package."""
        manifest = self.files.folder / "Manifest"
        manifest.write_bytes(gpkg.manifest_of(file))
        return keys.clearsigned(manifest, f"{name} from binhost {self.name}").text

    def mark_used(self, paths: Iterable[str]) -> None:
        """Mark packages as used by the times of their folders; the host sets the times of files."""
        for path in paths:
            if (kept := self.cache / path).exists():
                os.utime(kept.parent)


def _link(source: Path, target: Path) -> None:
    """Link a file atomically. It replaces an older file of the host."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    os.link(source, temporary)
    temporary.rename(target)
    temporary.unlink(missing_ok=True)  # rename(2) does nothing if both are the same file


@dataclass(frozen=True)
class Binhosts:
    """The hosts of one build. ``config`` is its /etc/portage, ``folder`` is for indexes and requests."""

    hosts: Sequence[Host]
    config: Path
    folder: Path

    def prepare(self, root: Root) -> None:
        """Write binrepos.conf, and make the keyrings with the root's gpg.

        Raises ``ENVIRONMENT_LACKS`` if the root has no gpg or its Portage is too old, ``INVALID_VALUE`` for invalid
        keys.
        """
        for host in self.hosts:
            host.files.prepare(0, 0o755)
        if (self.config / KEYRING).exists():  # the configuration of this build exists already
            return
        if not files.exists(root.path, "usr/bin/gpg"):
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                "binary package hosts: the root has no gpg to verify signatures",
                hint="add `gpg` to a Debian seed or app-crypt/gnupg to a stage, or set `binhosts = []`",
            )
        if root.run("python3", "-c", _NEEDED, check=False).code:
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                "binary package hosts: the root's Portage is too old",
                hint="use Portage 3.0.83 or newer, or set `binhosts = []`",
            )
        self._check_indexes()
        (self.config / "make.conf" / "99-binhosts").write_text(make_conf(SETTINGS), encoding="utf-8")
        conf = self.config / CONF
        remove_tree(conf)  # of a confdir
        conf.write_text(binrepos_conf(self.hosts, frozen=True), encoding="utf-8")
        self._fetching.write_text(binrepos_conf(self.hosts, frozen=False), encoding="utf-8")
        signed = [host for host in self.hosts if host.keys]
        self._make_keyring(root, KEYRING, signed)  # Portage knows one keyring for all hosts
        for host in signed:
            self._make_keyring(root, f"{KEYRINGS}/{host.name}", [host])

    def _check_indexes(self) -> None:
        """Raise ``INVALID_VALUE`` for hosts whose indexes Portage would write to the same file."""
        by_index = {host.index: host for host in self.hosts}
        for host in self.hosts:
            if (other := by_index[host.index]) is not host:
                raise StagewrightError(
                    Reason.INVALID_VALUE,
                    f"binhosts {host.name} and {other.name}: Portage keeps both indexes in one file",
                    detail=f"{host.uri}\n{other.uri}",
                    hint="change the path of one URI, or name only one of them in `binhosts` of a stage",
                )

    def binds(self) -> list[Bind]:
        """Return the mounts for every command inside the root."""
        return [
            *(Bind(_made(host.files.view), host.location) for host in self.hosts),
            Bind(_made(self._indexes), INDEXES, writable=True),
        ]

    def fetch_binds(self) -> list[Bind]:
        """Return the additional mounts of the fetch step."""
        return [
            *(Bind(host.files.view, host.location, writable=True) for host in self.hosts),
            Bind(self._fetching, f"{CONFDIR}/{CONF}"),
        ]

    def prepare_fetch(self) -> None:
        """Link cached packages, and remove the indexes, so that Portage downloads the current ones."""
        remove_tree(self._indexes)
        _made(self._indexes)
        for host in self.hosts:
            host.lend_cached()

    def check(self, root: Root, said: Mapping[str, str]) -> None:
        """Verify the packages of the fetch step and cache them. ``said`` are Portage's error messages, by host.

        Raises ``FETCH_FAILED`` if a host has sent no index, ``BAD_SIGNATURE`` for packages that are not trusted.
        """
        silent = [host for host in self.hosts if not Tree(self._indexes, links=False).is_file(host.index)]
        if silent:
            lines = [f"{host.name} ({host.uri}): {said.get(host.name, 'no index')}" for host in silent]
            names = ", ".join(host.name for host in silent)
            raise StagewrightError(
                Reason.FETCH_FAILED,
                f"binhost {names}: cannot fetch its index",
                detail="\n".join(lines),
                hint="try again later, or set `binhosts = []` to build from source",
            )
        downloaded = [(host, host.files.written(SUFFIX)) for host in self.hosts]
        self._verify(root, [(host, path) for host, paths in downloaded if host.keys for path in paths])
        for host, paths in downloaded:
            host.cache_new(paths)

    def _verify(self, root: Root, new: Sequence[tuple[Host, str]]) -> None:
        """Raise ``BAD_SIGNATURE`` for new packages that Portage rejects with the keys of their host."""
        if not new:
            return
        request = [
            {
                "home": f"{CONFDIR}/{KEYRINGS}/{host.name}",
                "location": host.location,
                "path": path,
                "cpv": self._index(host).get(path, ""),
                "host": host.name,
            }
            for host, path in new
        ]
        problems = ask_script(root, "verify_binpkgs.py", list[_Rejected], (self.folder / "verify.json", request))
        if problems:
            lines = list(map(str, problems))
            raise StagewrightError(
                Reason.BAD_SIGNATURE,
                lines[0] if len(lines) == 1 else f"{len(lines)} binary packages are rejected",
                detail="\n".join(lines) if len(lines) > 1 else problems[0].detail,
                hint="if the host has new keys, put them into the file that `keys` names; else report it to the host",
            )

    def used(self, tree: Path) -> dict[str, Any]:
        """Return the packages recorded in a tree that came from these hosts, with the URI, by host."""
        found = {}
        for host in self.hosts:
            fetched = [
                (path, name) for path in host.files.files(SUFFIX) for name in _names(Path(host.files.path_of(path)))
            ]
            names = sorted({name for _, name in fetched})
            recorded = inside(tree, read_entries, Path("/"), names, "BINPKGMD5") if names else {}
            taken = [
                (path, name) for path, name in fetched if recorded[name] and recorded[name] == digest_of(path, "md5")
            ]
            host.mark_used(host.files.path_of(path) for path, _ in taken)
            if taken:
                found[host.name] = {"uri": host.uri, "packages": sorted({name for _, name in taken})}
        return found

    def _index(self, host: Host) -> dict[str, str]:
        """Return the packages in the index of a host: category/package-version by path. Raises: BAD_LISTING."""
        found, entry = {}, dict[str, str]()
        try:
            text = Tree(self._indexes, links=False).text(host.index, errors="replace")
        except OSError as error:
            what = f"binhost {host.name}: its index cannot be read ({error.strerror})"
            raise StagewrightError(Reason.BAD_LISTING, what, detail=host.uri, hint="report it to the host") from error
        for line in [*text.splitlines(), ""]:
            name, colon, value = line.partition(": ")
            if colon:
                entry[name] = value
            elif not line:
                if "PATH" in entry and "CPV" in entry:
                    found[entry["PATH"]] = entry["CPV"]
                entry = {}
        return found

    @property
    def _indexes(self) -> Path:
        return self.folder / "index"

    @property
    def _fetching(self) -> Path:
        return self.folder / CONF

    def _make_keyring(self, root: Root, name: str, hosts: Iterable[Host]) -> None:
        """Make a keyring with the keys of hosts, all trusted, like getuto(1), but only for this build."""
        folder, home, inner = self.config / name, f"{CONFDIR}/{name}", "/tmp/keys"
        folder.mkdir(parents=True)
        folder.chmod(0o700)
        gpg = ["gpg", "--homedir", home, "--batch", "--no-tty", "--quiet", "--no-autostart", "--with-colons"]
        trust = self.folder / "trust"
        for host in hosts:
            assert host.keys
            keyring = root.with_binds(Bind(folder, home, writable=True), Bind(host.keys, inner))
            listing = keyring.ask(*gpg, "--show-keys", inner, check=False)
            trusted = checked_keys(listing, host.keys, f"binhosts.{host.name}.keys")
            keyring.ask(*gpg, "--import", inner)
            trust.write_text("".join(f"{fingerprint}:6:\n" for fingerprint in trusted), encoding="utf-8")
            keyring.with_binds(Bind(trust, inner)).ask(*gpg, "--import-ownertrust", inner)
        root.with_binds(Bind(folder, home, writable=True)).ask(*gpg, "--check-trustdb")
        made = Tree(folder, links=False)  # gpg of the root wrote it, which may be hostile
        for path, _ in made.files():
            made.chmod(path, 0o644)  # Portage verifies as an unprivileged user
            made.chmod(path.rpartition("/")[0] or ".", 0o755)


def _names(path: Path) -> tuple[str, str]:
    """Return the possible names (category/package-version) of the package in a file, with and without a build id."""
    category, name = path.parts[0], path.name.removesuffix(SUFFIX)
    return f"{category}/{name}", f"{category}/{name.rpartition('-')[0]}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def binrepos_conf(hosts: Sequence[Host], *, frozen: bool) -> str:
    """Return a binrepos.conf of portage(5). With ``frozen``, Portage does not download the indexes again."""
    lines = []
    for host in hosts:
        lines += [
            f"[{host.name}]",
            f"sync-uri = {host.uri.replace('%', '%%')}",
            f"priority = {host.priority}",
            f"location = {host.location}",
            f"verify-signature = {'yes' if host.keys else 'no'}",
            f"frozen = {'yes' if frozen else 'no'}",
            "",
        ]
    return "\n".join(lines)
