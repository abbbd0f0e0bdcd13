"""release: gpg, minisign and sha256sum alone verify it, two builds are equal but for signatures, and no key is kept."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration import archives
from integration.archives import member, records, write_tar
from integration.signing import Minisigner, Signer
from integration.support import Run, build, call, write_project
from stagewright.trees import remove_tree

pytestmark = pytest.mark.real

PHRASE = "a passphrase that is in no store"

TABLES = """
[seeds.it]
file = "seed.tar"
[stages.packed]
kind = "tarball"
root = "it"
[stages.other]
kind = "tarball"
root = "it"
name = "other"
compression = "gz"
[releases.everything]
artifacts = ["packed", "other"]
valid = 90
"""


@dataclass(frozen=True)
class Bench:
    """A project with a release of two tarballs, and the keys that sign it."""

    project: Path
    store: Path
    openpgp: Signer
    minisign: Minisigner

    def release(self, openpgp: str, env: dict[str, str] | None = None, *, valid: int = 90, **more: Any) -> Run:
        minisign = f'minisign = {{ key = "{self.minisign.key}", secret = "{self.minisign.secret}" }}'
        sign = f"[releases.everything.sign]\n{openpgp}\n{minisign}\n"
        write_project(self.project, TABLES.replace("valid = 90", f"valid = {valid}") + sign)
        return build("everything", cwd=self.project, **{"store": self.store, "env": env, **more})

    @property
    def out(self) -> Path:
        return self.project / "out" / "everything"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("release")
    project = folder / "project"
    project.mkdir()
    write_tar(
        project / "seed.tar", [archives.folder("usr"), member("usr/file", b"x"), *records("app-misc/it-1", SLOT="0")]
    )
    openpgp = Signer.make(folder / "gpg", passphrase=PHRASE)
    yield Bench(project, folder / "store", openpgp, Minisigner.make(folder / "minisign"))
    openpgp.close()


def said(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run(list(map(str, words)), cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def unsigned(out: Path) -> dict[str, bytes]:
    """The content of a release without signatures."""
    files = {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    name = "latest-everything.txt"
    text, _, _ = files[name].partition(b"-----BEGIN PGP SIGNATURE-----")
    return {path: content for path, content in {**files, name: text}.items() if path[-4:] not in (".asc", "isig")}


def test_other_programs_verify_it_and_two_builds_are_equal(bench: Bench, tmp_path: Path) -> None:
    secret, phrase = tmp_path / "secret.asc", tmp_path / "phrase"
    secret.write_bytes(bench.openpgp.secret())
    phrase.write_text(f"{PHRASE}\n", encoding="utf-8")
    key = bench.openpgp.fingerprint
    run = bench.release(f'openpgp = {{ key = "{key}", secret = "{secret}", passphrase = "{phrase}" }}')
    version = bench.out / "1"
    assert said("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=version).count(": OK\n") == len(
        [path for path in version.iterdir() if path.suffix not in (".asc", ".minisig") and path.name != "SHA256SUMS"]
    )
    public = bench.openpgp.public(tmp_path / "public.asc")
    said("gpg", "--homedir", bench.openpgp.home, "--import", public, cwd=version)
    for name in ("SHA256SUMS", "DIGESTS"):
        said("gpg", "--homedir", bench.openpgp.home, "--verify", f"{name}.asc", name, cwd=version)
        said("minisign", "-Vm", name, "-P", bench.minisign.key, cwd=version)
    said("minisign", "-Vm", "latest-everything.txt", "-P", bench.minisign.key, cwd=bench.out)
    text = said("gpg", "--homedir", bench.openpgp.home, "--decrypt", "latest-everything.txt", cwd=bench.out)
    size = (version / "it-amd64-1.tar.zst").stat().st_size
    assert f"\n1/it-amd64-1.tar.zst {size}\n" in text and "# release=test/everything\n" in text
    assert "# expires=1802908800\n" in text  # 90 days after source_date_epoch
    described = json.loads((version / "release.json").read_text(encoding="utf-8"))
    assert [one["file"] for one in described["artifacts"]] == ["it-amd64-1.tar.zst", "other.tar.gz"]
    packed = next(bench.store.glob("artifacts/*/tree/it-amd64-1.tar.zst"))
    assert packed.samefile(version / "it-amd64-1.tar.zst"), "files are hard links"
    assert run.built() >= {"packed", "other", "release:everything"}
    nothing_secret(bench.store, [PHRASE.encode(), secret.read_bytes().split(b"\n\n")[1][:40]], run)
    first = unsigned(bench.out)
    home = {"GNUPGHOME": str(bench.openpgp.home), "RELEASE_PHRASE": PHRASE}
    second = f'openpgp = {{ key = "{key}", passphrase_variable = "RELEASE_PHRASE" }}'
    (made,) = bench.store.glob("artifacts/*/tree/latest-everything.txt")
    remove_tree(made.parents[1])
    run = bench.release(second, {**os.environ, **home})
    assert run.built() == {"release:everything"}
    assert unsigned(bench.out) == first
    nothing_secret(bench.store, [PHRASE.encode()], run)


def nothing_secret(store: Path, secrets: list[bytes], run: Run) -> None:
    files = {path: path.read_bytes() for path in store.rglob("*") if path.is_file() and not path.is_symlink()}
    kept = [path for path, content in files.items() for secret in secrets if secret in content]
    assert not kept, "secrets are in no file of the store"
    assert not any(secret.decode() in run.stdout + run.stderr for secret in secrets)


def test_a_missing_key_is_reported_before_the_build(bench: Bench, tmp_path: Path) -> None:
    key = bench.openpgp.fingerprint
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    env = {**os.environ, "GNUPGHOME": str(empty)}
    run = bench.release(f'openpgp = {{ key = "{key}" }}', env, valid=91, check=False)
    assert run.code == 3 and "has no secret key" in run.stderr and not run.built()
    wrong = f'openpgp = {{ key = "{"AB" * 20}", secret = "{bench.minisign.secret}" }}'
    run = bench.release(wrong, valid=91, check=False)
    assert run.reasons == {"release:everything": "invalid-value"}


def test_a_release_is_planned_like_a_stage(bench: Bench) -> None:
    write_project(bench.project, TABLES)
    plan = call("plan", "--json", cwd=bench.project, store=bench.store).plan
    assert set(plan["release:everything"]["inputs"].values()) == {"packed", "other", "bill:it"}


def test_a_release_is_published_by_the_command(bench: Bench, tmp_path: Path) -> None:
    write_project(bench.project, TABLES + 'keep = { last = 1 }\nurl = "https://example.org/x"\n')
    place, store = tmp_path / "www", bench.store
    missing = call("publish", "everything", str(place), cwd=bench.project, store=store, check=False)
    assert missing.code == 2 and "stagewright build everything" in missing.stderr and not place.exists()
    build("everything", cwd=bench.project, store=store)
    said = call("publish", "everything", str(place), "--dry-run", "--json", cwd=bench.project, store=store)
    (planned,) = json.loads(said.stdout)["published"]
    assert planned["dry_run"] and not place.exists()
    done = call("publish", "everything", str(place), cwd=bench.project, store=store)
    assert f"{place}: 1, {planned['uploaded']} files uploaded" in done.stdout
    assert (place / "feed.xml").exists() and (place / "latest").readlink() == Path("1")
    call("verify", "--unsigned", str(place), cwd=bench.project, store=store)
    for words in (("packed", str(place)), ("everything", "https://example.org/x")):
        assert call("publish", *words, cwd=bench.project, store=store, check=False).code == 2
