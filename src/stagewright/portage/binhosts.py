"""Binary packages from other machines: fetched, checked against the keys of their host, and only then used.

Portage downloads what it chooses in the fetch step, into one folder for each host (``location`` of binrepos.conf); the
build step has no network and uses these folders and the indexes of that moment (``frozen``). In between everything new
is checked inside the root by Portage's own code, with a keyring that holds the keys of that host alone; Portage checks
again while it merges. What passed is kept for other builds, by host and keys::

    cache/binhosts/<uri and keys>/<path on the host>

None of it enters the cache of what was built here (``portage/binpkgs.py``): no fingerprint describes it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.openpgp import checked_keys, first_problem
from stagewright.graph.file_digest import digest_of, tree_digest
from stagewright.portage.confdir import make_conf
from stagewright.portage.installed import read_entry
from stagewright.portage.scripts import ask
from stagewright.root import files
from stagewright.root.root import Root
from stagewright.root.sandbox import Bind

LOCATION = "/var/cache/binhost"
INDEX = "/var/cache/edb/binhost"
"""Where Portage keeps the indexes of remote hosts, in every root that it works on."""

CONF = "binrepos.conf"
KEYRING, KEYRINGS = "gnupg", "gnupg.hosts"
CONFDIR = "/etc/portage"

SETTINGS = {
    "PORTAGE_BINHOST": "",
    "PORTAGE_TRUST_HELPER": "",
    "BINPKG_GPG_VERIFY_GPG_HOME": f"{CONFDIR}/{KEYRING}",
}
"""Variables of make.conf over all others: no other hosts, and no keys but those of the project."""

_SUFFIX = ".gpkg.tar"

_NEEDED = """
from portage.binrepo.config import BinRepoConfig
assert {"frozen", "location"} <= set(BinRepoConfig.__slots__)
"""


@dataclass(frozen=True)
class Host:
    """One host: what the project says of it, the store's cache for it, and the folder of one build."""

    name: str
    uri: str
    priority: int
    keys: Path | None  # None: whatever it serves is taken
    caches: Path
    folder: Path

    @property
    def location(self) -> str:
        """Where its packages lie inside the root."""
        return f"{LOCATION}/{self.name}"

    @property
    def cache(self) -> Path:
        """Where what it served is kept for other builds; with other keys, none of it."""
        trusted = tree_digest(self.keys) if self.keys else "anything"
        return self.caches / hashlib.sha256(f"{self.uri} {trusted}".encode()).hexdigest()[:32]

    @property
    def index(self) -> str:
        """Its index below Portage's folder of indexes, which knows no ports."""
        place = urlsplit(self.uri)
        return "/".join(filter(None, [place.hostname, place.path.strip("/"), "Packages"]))

    def link_cached(self) -> None:
        """Link everything of the cache into the folder of the build."""
        for source in self.cache.rglob(f"*{_SUFFIX}"):
            _link(source, self.folder / source.relative_to(self.cache))

    def downloaded(self) -> list[Path]:
        """What was downloaded since the last call of :meth:`cache_new`."""
        return sorted(path for path in self.folder.rglob(f"*{_SUFFIX}") if path.stat().st_nlink == 1)

    def cache_new(self) -> None:
        """Take what was downloaded and found good into the cache."""
        for source in self.downloaded():
            _link(source, self.cache / source.relative_to(self.folder))

    def mark_used(self, paths: Iterable[Path]) -> None:
        """Note what was used: collection goes by the times of folders, since those of files are the host's."""
        for path in paths:
            if (kept := self.cache / path.relative_to(self.folder)).exists():
                os.utime(kept.parent)

    def refused(self, problem: Mapping[str, str]) -> str:
        """A line on a package that is not taken, and why: what was found, or what gpg says of its signature."""
        what = problem["what"] or first_problem(problem["detail"])[1]
        return f"{problem['path']} from binhost {self.name}: {what}"


def _link(source: Path, target: Path) -> None:
    """Link a file in one step, instead of another that the host had there before."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    os.link(source, temporary)
    temporary.rename(target)
    temporary.unlink(missing_ok=True)  # nothing is renamed when both are the same file already


@dataclass(frozen=True)
class Binhosts:
    """The hosts of one build. ``config`` is its /etc/portage, ``folder`` is where else it writes."""

    hosts: Sequence[Host]
    config: Path
    folder: Path

    def prepare(self, root: Root) -> None:
        """Write binrepos.conf, and make the keyrings by the root's own gpg.

        Raises ``ENVIRONMENT_LACKS`` for a root that cannot check signatures or keep the packages of others apart,
        ``INVALID_VALUE`` for keys that are none.
        """
        if (self.config / KEYRING).exists():  # a root that is entered again
            return
        if not files.exists(root.path, "usr/bin/gpg"):
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                "the root has no gpg, so it cannot check the signatures of binary packages",
                hint="add `gpg` to the packages of a Debian seed, app-crypt/gnupg to a stage; or set `binhosts = []`",
            )
        if root.run("python3", "-c", _NEEDED, check=False).code:
            raise StagewrightError(
                Reason.ENVIRONMENT_LACKS,
                "the root's Portage is too old for binary package hosts",
                hint="3.0.83 is known to work; or set `binhosts = []`",
            )
        self._tell_apart()
        (self.config / "make.conf" / "99-binhosts").write_text(make_conf(SETTINGS), encoding="utf-8")
        conf = self.config / CONF
        if conf.is_dir():  # of a confdir
            shutil.rmtree(conf)
        conf.write_text(binrepos_conf(self.hosts, frozen=True), encoding="utf-8")
        self._fetching.write_text(binrepos_conf(self.hosts, frozen=False), encoding="utf-8")
        signed = [host for host in self.hosts if host.keys]
        self._make_keyring(root, KEYRING, signed)  # Portage knows one keyring for all hosts
        for host in signed:
            self._make_keyring(root, f"{KEYRINGS}/{host.name}", [host])

    def _tell_apart(self) -> None:
        """Raise for hosts whose indexes Portage would write to the same file."""
        by_index = {host.index: host for host in self.hosts}
        for host in self.hosts:
            if (other := by_index[host.index]) is not host:
                raise StagewrightError(
                    Reason.INVALID_VALUE,
                    f"Portage cannot tell the binhosts {host.name} and {other.name} apart",
                    detail=f"{host.uri}\n{other.uri}",
                    hint="give them other paths, or name one of them in the `binhosts` of a stage",
                )

    def binds(self) -> list[Bind]:
        """What every command inside the root sees."""
        return [
            *(Bind(_made(host.folder), host.location) for host in self.hosts),
            Bind(_made(self._indexes), INDEX, writable=True),
        ]

    def fetch_binds(self) -> list[Bind]:
        """What the networked step sees besides."""
        return [
            *(Bind(host.folder, host.location, writable=True) for host in self.hosts),
            Bind(self._fetching, f"{CONFDIR}/{CONF}"),
        ]

    def prepare_fetch(self) -> None:
        """Offer what was fetched before, and forget the indexes, so that the hosts are asked what they have now."""
        shutil.rmtree(self._indexes)
        _made(self._indexes)
        for host in self.hosts:
            host.link_cached()

    def check(self, root: Root, said: Mapping[str, str]) -> None:
        """See what the fetch step brought, and keep it. ``said`` is what Portage complained about, by host.

        Raises ``FETCH_FAILED`` for hosts that gave no index, ``BAD_SIGNATURE`` for packages that are not to be trusted.
        """
        silent = [host for host in self.hosts if not (self._indexes / host.index).exists()]
        if silent:
            lines = [f"{host.name} ({host.uri}): {said.get(host.name, 'it has no index')}" for host in silent]
            names = ", ".join(host.name for host in silent)
            raise StagewrightError(
                Reason.FETCH_FAILED,
                f"cannot reach binhost {names}",
                detail="\n".join(lines),
                hint="try again when it is up; or leave it out (`binhosts = []`), and packages are built from source",
            )
        self._refuse(root)
        for host in self.hosts:
            host.cache_new()

    def _refuse(self, root: Root) -> None:
        """Raise for new packages that Portage's own check, with the keys of their host, does not pass."""
        new = [(host, path) for host in self.hosts if host.keys for path in host.downloaded()]
        if not new:
            return
        request = [
            {
                "home": f"{CONFDIR}/{KEYRINGS}/{host.name}",
                "location": host.location,
                "path": str(path.relative_to(host.folder)),
                "cpv": self._index(host).get(str(path.relative_to(host.folder)), ""),
                "host": host.name,
            }
            for host, path in new
        ]
        problems = ask(root, "verify_binpkgs.py", (self.folder / "verify.json", request))
        if problems:
            by_name = {host.name: host for host in self.hosts}
            lines = [by_name[problem["host"]].refused(problem) for problem in problems]
            raise StagewrightError(
                Reason.BAD_SIGNATURE,
                lines[0] if len(lines) == 1 else f"{len(lines)} binary packages are refused",
                detail="\n".join(lines) if len(lines) > 1 else problems[0]["detail"],
                hint="ask who runs the host; if it has new keys, put them into the file that `keys` names",
            )

    def used(self, tree: Path) -> dict[str, Any]:
        """Which of the packages recorded in a tree came from which host, and whence that is."""
        found = {}
        for host in self.hosts:
            fetched = [
                (path, name)
                for path in host.folder.rglob(f"*{_SUFFIX}")
                for name in _names(path.relative_to(host.folder))
            ]
            taken = [(path, name) for path, name in fetched if _is_from(tree, name, path)]
            host.mark_used(path for path, _ in taken)
            if taken:
                found[host.name] = {"uri": host.uri, "packages": sorted({name for _, name in taken})}
        return found

    def _index(self, host: Host) -> dict[str, str]:
        """The packages that a host offers: category/package-version by path."""
        found, entry = {}, dict[str, str]()
        text = (self._indexes / host.index).read_text(errors="replace", encoding="utf-8")
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
        """A keyring with the keys of hosts, all of them trusted: as getuto(1) makes it, but for this build alone."""
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
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # Portage checks as a user without rights
        folder.chmod(0o755)


def _names(path: Path) -> tuple[str, str]:
    """What the package in a file can be called (category/package-version): its name may end in a build id."""
    category, name = path.parts[0], path.name.removesuffix(_SUFFIX)
    return f"{category}/{name}", f"{category}/{name.rpartition('-')[0]}"


def _is_from(tree: Path, package: str, file: Path) -> bool:
    """Whether an installed package was unpacked from a file."""
    recorded = read_entry(tree, package, "BINPKGMD5")
    return bool(recorded) and recorded == digest_of(file, "md5")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def binrepos_conf(hosts: Sequence[Host], *, frozen: bool) -> str:
    """binrepos.conf of portage(5). A frozen host is not asked anew what it has."""
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
