"""binhost: packages published by one project, and taken by another from a real web server, or refused."""

from __future__ import annotations

import configparser
import functools
import gzip
import hashlib
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from integration.support import DEMO, SEED, Run, Warm, build, call, notices, plan, seeds_of, write_project

pytestmark = pytest.mark.real

SYSTEM = """
[repos.demo]
path = "repo"
[stages.system]
kind = "embedded"
root = "debian"
profile = "default/linux/amd64"
packages = ["app-misc/greet"]
use = ["-shout"]
"""

PUBLISHED = """
[stages.loud]
extends = "system"
packages = ["app-misc/hello"]
use = ["shout"]
[stages.good]
kind = "binhost"
roots = ["system", "loud"]
sign = {{ key = "{good}", secret = "{secrets}/good", passphrase = "{secrets}/passphrase" }}
[stages.other]
kind = "binhost"
roots = ["system"]
sign = {{ key = "{other}", secret = "{secrets}/other" }}
[stages.unsigned]
kind = "binhost"
roots = ["system"]
"""

PHRASE = "correct horse"

MAKE_KEYS = f"""
make() {{
    gpg --batch --quiet --pinentry-mode loopback --passphrase "$2" --quick-gen-key "$1@example.org" ed25519 sign never
    gpg --batch --with-colons --list-keys "$1" | sed -n 's/^fpr:*\\([0-9A-F]*\\):/\\1/p'; echo ====
    gpg --batch --armor --export "$1"; echo ====
    gpg --batch --pinentry-mode loopback --passphrase "$2" --armor --export-secret-keys "$1"; echo ====
}}
make good "{PHRASE}" 2> /dev/null && make other "" 2> /dev/null
"""

ALL = {
    "acct-group/demo-0",
    "acct-user/demo-0",
    "app-misc/greet-1.0",
    "app-misc/hello-1.0",
    "sys-apps/demo-baselayout-1",
}


class Server(http.server.ThreadingHTTPServer):
    """A web server that records the requests for packages."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))

    @property
    def packages(self) -> set[str]:
        """The packages that were requested since the last look."""
        found = {path.partition("/")[2] for path in self.asked if path.endswith(".gpkg.tar")}
        self.asked.clear()
        return found


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files and records the requests."""

    def log_message(self, *_: object) -> None:
        assert isinstance(self.server, Server)
        self.server.asked.append(self.path)


@dataclass(frozen=True)
class Site:
    """Published packages, the server with them, and another project that takes them."""

    served: Path
    server: Server
    project: Path
    store: Path
    lock: Path

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, host: str, *, use: str = "-shout", more: str = "", check: bool = True, trust: str = "") -> Run:
        """Build the system of the other project with packages from ``host``, given by its name or its address."""
        trust = trust or 'keys = "good.asc"'
        uri = host if ":" in host else f"{self.uri}/{host}"
        allow = f'[fetch]\nallow = ["127.0.0.1:{self.server.server_address[1]}"]\n'
        table = f'[binhosts.main]\nuri = "{uri}"\n{trust}\n{allow}'
        write_project(self.project, seeds_of(SEED) + SYSTEM.replace("-shout", use) + more + table)
        return build("system", cwd=self.project, store=self.store, check=check)

    def refused(self, host: str, *, bad: str = "", **more: str) -> Run:
        """Run a build that must fail; fetched packages, or those that end with ``bad``, must not be kept."""
        before = self.kept()
        run = self.take(host, check=False, **more)
        assert run.code, run
        assert not [path for path in self.kept() - before if str(path).endswith(bad)]
        return run

    def kept(self) -> set[Path]:
        """Return all binary packages that the store keeps for other builds."""
        return {path for name in ("binpkgs", "binhosts") for path in (self.store / "cache" / name).rglob("*.gpkg.tar")}

    def changed(self, host: str, name: str) -> Path:
        """Copy a host, for a test to change."""
        return Path(shutil.copytree(self.served / host, self.served / name))

    def came_from(self) -> dict[str, set[str]]:
        """Return the packages of the newest system by the host that they came from."""
        metas = [json.loads(path.read_text(encoding="utf-8")) for path in self.store.glob("layers/*/meta.json")]
        newest = max((meta for meta in metas if meta["kind"] == "embedded"), key=lambda meta: meta["created"])
        return {name: set(known["packages"]) for name, known in newest["facts"].get("binhosts", {}).items()}


def new_project(folder: Path, seed: Warm) -> Path:
    folder.mkdir(parents=True)
    shutil.copytree(DEMO / "repo", folder / "repo")
    shutil.copy(seed.lock, folder)
    return folder


@pytest.fixture(scope="module")
def published(seed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The publisher's project and its store."""
    store = seed.copy(["seed:debian"], binpkgs=False)
    project = new_project(tmp_path_factory.mktemp("binhost") / "publisher", seed)
    secrets = project.parent / "secrets"
    secrets.mkdir(mode=0o700)
    write_project(project, seeds_of(SEED) + SYSTEM)
    parts = call("shell", "system", "--", "sh", "-c", MAKE_KEYS, cwd=project, store=store).stdout.split("====\n")
    for number, name in enumerate(("good", "other")):
        (project / f"{name}.asc").write_text(parts[3 * number + 1], encoding="utf-8")
        (secrets / name).write_text(parts[3 * number + 2], encoding="utf-8")
    (secrets / "passphrase").write_text(f"{PHRASE}\n", encoding="utf-8")
    keys = {"good": parts[0].strip(), "other": parts[3].strip()}
    write_project(project, seeds_of(SEED) + SYSTEM + PUBLISHED.format(secrets=secrets, **keys))
    build(cwd=project, store=store)
    yield project, store
    shutil.rmtree(store)


@pytest.fixture(scope="module")
def site(published: tuple[Path, Path], seed: Warm) -> Iterator[Site]:
    project, _ = published
    server = Server(project / "out")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    consumer = new_project(project.parent / "consumer", seed)
    for name in ("good.asc", "other.asc"):
        shutil.copy(project / name, consumer)
    store = seed.copy(["seed:debian"], binpkgs=False)
    yield Site(project / "out", server, consumer, store, seed.lock)
    server.shutdown()
    shutil.rmtree(store)


def index_of(host: Path) -> dict[str, dict[str, str]]:
    """The entries of an index, by path."""
    blocks = [
        dict(re.findall(r"^(\w+): (.*)$", block, re.MULTILINE))
        for block in (host / "Packages").read_text(encoding="utf-8").split("\n\n")
    ]
    return {block["PATH"]: block for block in blocks if "PATH" in block}


def test_the_host_has_all_packages_and_a_matching_index(published: tuple[Path, Path]) -> None:
    project, store = published
    host = project / "out/good"
    index = index_of(host)
    assert sorted(index) == sorted(str(path.relative_to(host)) for path in host.rglob("*.gpkg.tar"))
    assert {entry["CPV"] for entry in index.values()} == ALL
    for path, entry in index.items():
        data = (host / path).read_bytes()
        assert entry["SIZE"] == str(len(data)) and entry["MD5"] == hashlib.md5(data).hexdigest()
        assert f"-{entry['BUILD_ID']}.gpkg.tar" in path
    uses = {entry["USE"] for path, entry in index.items() if "/hello/" in path}
    assert uses == {"static", "shout static"}, "both kinds of one version, each with a build id of its own"
    assert gzip.decompress((host / "Packages.gz").read_bytes()) == (host / "Packages").read_bytes()
    newest = max(int(entry["BUILD_TIME"]) for entry in index.values())
    assert f"\nTIMESTAMP: {newest + len(index)}\n" in (host / "Packages").read_text(encoding="utf-8")
    assert (host / "signing-key.asc").read_text(encoding="utf-8") == (project / "good.asc").read_text(encoding="utf-8")
    facts = [json.loads(path.read_text(encoding="utf-8"))["facts"] for path in store.glob("artifacts/*/meta.json")]
    for found in facts:
        found.pop("records", None)  # the digest of what the packages say about themselves
    sizes = sum(path.stat().st_size for path in host.rglob("*.gpkg.tar"))
    assert {"packages": len(index), "bytes": sizes, "signed": fingerprint(project, "good")} in facts


def test_the_folder_has_lines_for_other_machines(published: tuple[Path, Path]) -> None:
    project, _ = published
    for name, signed in (("unsigned", False), ("good", True)):
        lines = (project / "out" / name / "binrepos.conf").read_text(encoding="utf-8")
        found = configparser.ConfigParser()
        found.read_string(lines)
        assert found.sections() == [name]
        assert found.getboolean(name, "verify-signature") is signed
        assert found.get(name, "sync-uri").startswith("https://")
        assert ("--lsign-key" in lines) is signed
    assert f"--lsign-key {fingerprint(project, 'good')}" in lines


OTHER_SYSTEM = r"""
set -e
layer=$1 host=$2 repo=$3 uri=$4
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$layer,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
cd /mnt/root
mkdir -p var/db/repos/demo srv/host etc/portage/gnupg target
mount --bind "$repo" var/db/repos/demo
mount --bind "$host" srv/host
mount --bind /dev dev
mount -t proc proc proc
sed "s|https://SERVER/FOLDER|$uri|" srv/host/binrepos.conf > etc/portage/binrepos.conf
printf '[DEFAULT]\nmain-repo = demo\n[demo]\nlocation = /var/db/repos/demo\n' > etc/portage/repos.conf
cat > etc/portage/make.conf <<'END'
FETCHCOMMAND="python3 /fetch \${URI} \${DISTDIR}/\${FILE}"
FEATURES="-sandbox -usersandbox -userpriv -userfetch -network-sandbox -ipc-sandbox -pid-sandbox -mount-sandbox"
END
ln -s ../../var/db/repos/demo/profiles/default/linux/amd64 etc/portage/make.profile
echo 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' > fetch
exec chroot . sh -ec '
cd /srv/host
keyring="gpg --batch --quiet --homedir /etc/portage/gnupg"
echo phrase > /etc/portage/gnupg/pass # as getuto does
$keyring --pinentry-mode loopback --passphrase-file /etc/portage/gnupg/pass --quick-gen-key local rsa2048 sign never
sed -n "/getuto/d; s/^#   //p" binrepos.conf > /lines
sh -ex /lines
$keyring --check-trustdb
emerge --root /target --getbinpkgonly --nodeps --color n app-misc/hello
gpgconf --homedir /etc/portage/gnupg --kill all
/target/usr/bin/hello there
'
"""
"""A Debian root with Portage becomes another system, whose binrepos.conf is that of the host. It installs a package."""


def test_portage_of_another_system_takes_packages_by_these_lines(site: Site, published: tuple[Path, Path]) -> None:
    """Also by the commands for the key in their comments."""
    project, store = published
    layer = store / "layers" / str(plan("system", cwd=project, store=store)["seed:debian"]["key"]) / "tree"
    site.server.asked.clear()
    places = [layer, project / "out/good", project / "repo", f"{site.uri}/good"]
    words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", OTHER_SYSTEM, "sh", *map(str, places)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hello, there" in done.stdout.lower()  # the newest one has USE=shout
    assert [path.partition("/")[0] for path in site.server.packages] == ["good"]


def fingerprint(project: Path, name: str) -> str:
    found = re.search(
        rf'key = "(\w+)", secret = "[^"]*/{name}"', (project / "stagewright.toml").read_text(encoding="utf-8")
    )
    assert found
    return found[1]


def test_secrets_are_kept_nowhere(published: tuple[Path, Path]) -> None:
    project, store = published
    secret = (project.parent / "secrets/good").read_text(encoding="utf-8").splitlines()
    needles = [PHRASE.encode(), secret[3].encode(), b"PRIVATE KEY", b"private-keys-v1"]
    places = [project / "out", *(store / name for name in ("artifacts", "logs", "events", "history", "work", "cache"))]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    ours = [path for path in files if not {"distfiles", "pypi"} & set(path.parts)]
    public = [path for path in ours if b"BEGIN PGP PUBLIC KEY" in path.read_bytes()]
    assert [path.name for path in public].count("signing-key.asc") >= 2, "the search finds what is there"
    assert [path for path in ours for needle in needles if needle in path.read_bytes()] == []


def test_packages_are_installed_without_compiling(site: Site) -> None:
    run = site.take("good")
    assert run.built() == {"system"}
    log = call("log", "system", cwd=site.project, store=site.store).stdout
    assert "Emerging binary (1 of 5)" in log and ">>> Emerging (" not in log
    assert site.came_from() == {"main": ALL}
    assert len(site.server.packages) == 5
    assert not list((site.store / "cache/binpkgs").rglob("*.gpkg.tar")), "what others built is not what we built"
    (tree,) = (path for path in site.store.glob("layers/*/tree") if (path / "usr/bin/greet").exists())
    assert not (tree / "etc/portage").exists() and not (tree / "var/cache/edb/binhost").exists()
    run = site.take("good", more='os_release = { NAME = "again" }\n')
    assert run.built() == {"system"} and site.came_from() == {"main": ALL}
    assert not site.server.packages, "a second build asks for the index alone"


def test_only_packages_with_matching_use_flags_are_taken(site: Site) -> None:
    site.take("unsigned", use="shout", trust="verify = false")
    assert site.came_from() == {"main": ALL - {"app-misc/hello-1.0"}}
    (own,) = {path.name for path in (site.store / "cache/binpkgs").rglob("*.gpkg.tar")}  # links for two origins
    assert own.startswith("hello-1.0-")
    shutil.rmtree(site.store / "cache/binpkgs")


def test_an_unsigned_package_is_refused(site: Site) -> None:
    run = site.refused("unsigned")
    assert run.reasons == {"system": "bad-signature"}
    assert "app-misc/hello/hello-1.0-1.gpkg.tar from binhost main: not signed" in run.stderr, run


def test_a_package_signed_with_an_unknown_key_is_refused(site: Site) -> None:
    run = site.refused("other")
    assert run.reasons == {"system": "bad-signature"}
    assert "from binhost main: signed with an unknown key" in run.stderr, run


def damage(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.unlink()
    file.write_bytes(data)


def test_a_changed_package_is_refused(site: Site) -> None:
    host = site.changed("good", "damaged")
    path = next(path for path, entry in index_of(host).items() if entry.get("USE") == "static")
    damage(host / path)
    run = site.refused("damaged", bad=path)
    assert run.reasons == {"system": "digest-mismatch"}
    assert Path(path).name in run.stderr and "binhost main" in run.stderr


def test_a_package_changed_together_with_the_index_is_refused(site: Site) -> None:
    host = site.changed("good", "forged")
    path, entry = next((path, entry) for path, entry in index_of(host).items() if entry.get("USE") == "static")
    damage(host / path)
    index = (host / "Packages").read_text(encoding="utf-8")
    for name in ("md5", "sha1"):
        index = index.replace(entry[name.upper()], hashlib.new(name, (host / path).read_bytes()).hexdigest())
    for name in ("Packages", "Packages.gz"):
        (host / name).unlink()
    (host / "Packages").write_text(index, encoding="utf-8")
    run = site.refused("forged")
    assert run.reasons == {"system": "bad-signature"}
    assert Path(path).name in run.stderr


def test_a_signed_package_under_another_name_is_refused(site: Site) -> None:
    """The index is not signed: it could offer an old package, or another one, with a valid signature."""
    host = site.changed("good", "swapped")
    index = (
        (host / "Packages").read_text(encoding="utf-8").replace("CPV: app-misc/greet-1.0", "CPV: app-misc/greet-1.1")
    )
    for name in ("Packages", "Packages.gz"):
        (host / name).unlink()
    (host / "Packages").write_text(index, encoding="utf-8")
    shutil.copytree(site.project / "repo/app-misc/greet", site.project / "repo/app-misc/greet.new")
    ebuild = site.project / "repo/app-misc/greet/greet-1.0.ebuild"
    ebuild.rename(ebuild.with_name("greet-1.1.ebuild"))
    try:
        run = site.refused("swapped")
    finally:
        shutil.rmtree(ebuild.parent)
        (site.project / "repo/app-misc/greet.new").rename(ebuild.parent)
    assert run.reasons == {"system": "bad-signature"}
    assert "the file is app-misc/greet-1.0, but the index says app-misc/greet-1.1" in run.stderr


@pytest.mark.parametrize(("host", "said"), [("nothing", "404"), ("http://169.254.1.1:9", "Connection refused")])
def test_a_host_that_does_not_answer_is_reported(site: Site, host: str, said: str) -> None:
    run = site.refused(host)
    assert run.reasons == {"system": "fetch-failed"}
    assert "binhost main: cannot fetch its index" in run.stderr and said in run.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [("-----BEGIN PGP PUBLIC KEY BLOCK-----\n", "no OpenPGP public keys"), ("secret", "secret keys")],
)
def test_a_file_without_public_keys_is_refused(
    site: Site, published: tuple[Path, Path], content: str, said: str
) -> None:
    secret = (published[0].parent / "secrets/other").read_text(encoding="utf-8")
    (site.project / "bad.asc").write_text(secret if content == "secret" else content, encoding="utf-8")
    run = site.refused("good", trust='keys = "bad.asc"')
    assert run.reasons == {"system": "invalid-value"}
    assert said in run.stderr


def test_a_root_without_gpg_is_reported(site: Site, demo: Path, fresh: Callable[..., Path]) -> None:
    shutil.copy(site.project / "good.asc", demo)
    with (demo / "stagewright.toml").open("a", encoding="utf-8") as stream:
        stream.write(f'[binhosts.main]\nuri = "{site.uri}/good"\nkeys = "good.asc"\n')
        stream.write(f'[fetch]\nallow = ["127.0.0.1:{site.server.server_address[1]}"]\n')
    run = build("system", cwd=demo, store=fresh(binpkgs=False), check=False)
    assert run.reasons == {"system": "environment-lacks"}
    assert "gpg" in run.stderr


def test_packages_from_another_host_are_not_published_again(site: Site) -> None:
    more = '[stages.mine]\nkind = "binhost"\nroots = ["system"]\n'
    site.take("good", more=more)
    run = build("mine", cwd=site.project, store=site.store)
    assert notices(run) == ["5 packages came from binhost main and are not published"]
    assert not list((site.project / "out/mine").rglob("*.gpkg.tar"))


def test_a_missing_secret_is_reported_before_anything_is_built(published: tuple[Path, Path], tmp_path: Path) -> None:
    project, store = published
    text = (project / "stagewright.toml").read_text(encoding="utf-8").replace("secrets/other", "secrets/none")
    (project / "stagewright.toml").write_text(
        text.replace('use = ["-shout"]', 'use = ["-shout", "new"]'), encoding="utf-8"
    )
    run = build(cwd=project, store=store, check=False)
    assert run.code == 2 and not run.events, run
    assert "sign.secret: file not found" in run.stderr and "stagewright.toml:" in run.stderr
