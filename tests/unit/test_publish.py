"""Publishing: to a folder, by SFTP, by rsync and to an object store, each real; no half release is ever seen."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from integration import registry
from integration.signing import Minisigner, Signer
from integration.web import Handler, serve
from servers import SshServer, free_port
from signed_releases import COUNT, DATE, DAY, FILES, Keys, write_release, write_version

from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, NodeNotice
from stagewright.publish.attempts import Attempts, Retries
from stagewright.publish.folder import FolderTarget
from stagewright.publish.objects import ObjectTarget
from stagewright.publish.oci_layout import INDEX, MANIFEST, TITLE, statement_type
from stagewright.publish.open_target import open_target
from stagewright.publish.pages import Pages
from stagewright.publish.publisher import LocalRelease, Publisher
from stagewright.publish.registry import Registry
from stagewright.publish.registry_api import RegistryApi
from stagewright.publish.repository import Repository, digest_of
from stagewright.publish.target import Target, TargetOptions
from stagewright.release.keep import DatedVersion, Keep
from stagewright.release.release_folder import Description
from stagewright.release.verify_release import TrustedKeys, verify_place

FAST = Retries((0.01, 0.01))

MINISIGN_TYPE = "application/vnd.stagewright.minisign.v1"


@dataclass(frozen=True)
class Bench:
    """Two versions of a signed release, and the keys that users trust."""

    root: Path
    trust: TrustedKeys

    def version(self, version: str) -> LocalRelease:
        return LocalRelease.read(self.root / version)

    def verified(self, place: Path | str) -> str:
        """The version that a user gets who verifies the newest one."""
        (found,) = verify_place(str(place), self.trust, None)
        return found.version


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    root = tmp_path_factory.mktemp("releases")
    keys = Keys(Signer.make(root / "gpg"), Minisigner.make(root / "minisign"))
    for number in (1, 2):
        write_release(root / f"{number}.0", f"{number}.0", keys, date=DATE + number * DAY)
    yield Bench(root, TrustedKeys([keys.openpgp.public(root / "key.asc")], (), [keys.minisign.key]))
    keys.openpgp.close()


@dataclass
class Heard:
    """Events of a publisher."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, NodeNotice)]


def publisher(bench: Bench, version: str, target: Target, heard: Heard | None = None, **more: Any) -> Publisher:
    return Publisher(bench.version(version), target, heard or Heard(), retries=FAST, **more)


def plain(root: Path, version: str, *, date: int = DATE) -> LocalRelease:
    """A release without signatures, which takes no time to make."""
    return LocalRelease.read(write_release(root / version, version, date=date))


# servers


@dataclass(frozen=True)
class Place:
    """A target, and a function that copies what it has to a folder, as a user gets it."""

    target: Target
    fetch: Callable[[], Path]
    linked: bool = True


def served(kind: str) -> Any:
    """A kind of targets with a server, which takes time to start."""
    return pytest.param(kind, marks=pytest.mark.slow)


Makes = Callable[[str], contextlib.AbstractContextManager[Place]]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A target of the kind that a test names."""
    folder = tmp_path / "srv" / "a folder"
    if request.param == "folder":
        yield Place(open_target(str(folder), TargetOptions()), lambda: folder)
    elif request.param == "s3":
        yield s3(request.getfixturevalue("s3_server"), tmp_path)
    else:
        server: SshServer = request.getfixturevalue("ssh_server")
        url = server.url(request.param, folder)
        target = open_target(url.replace(" ", "%20"), TargetOptions(ssh_config=server.config))
        with contextlib.closing(target):
            yield Place(target, lambda: folder)


def s3(address: str, tmp_path: Path) -> Place:
    bucket = f"b{secrets.token_hex(8)}"
    target = open_target(f"s3://{bucket}/live", TargetOptions(endpoint=address))
    assert isinstance(target, ObjectTarget)
    target.system.mkdir(bucket)

    def fetch() -> Path:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        for name in target.sizes(""):
            path = tmp_path / "copy" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(target.read(name)))
        return tmp_path / "copy"

    return Place(target, fetch, linked=False)


@pytest.mark.parametrize("place", ["folder", *map(served, ("sftp", "rsync", "s3"))], indirect=True)
def test_a_release_is_published_verified_and_replaced(bench: Bench, place: Place) -> None:
    first = publisher(bench, "1.0", place.target).publish()
    assert (first.uploaded, first.removed) == (COUNT + 7, [])
    assert bench.verified(place.fetch()) == "1.0"
    again = publisher(bench, "1.0", place.target).publish()
    assert again.uploaded == 0
    heard = Heard()
    second = publisher(bench, "2.0", place.target, heard, keep=Keep(last=1)).publish()
    assert second.removed == ["1.0"] and heard.notices == []
    copy = place.fetch()
    assert bench.verified(copy) == "2.0"
    visible = {"2.0", "latest-live.txt", "latest-live.txt.minisig", "signing-key.asc"}
    assert set(os.listdir(copy)) == visible | ({"latest"} if place.linked else set())
    if place.linked:
        assert (copy / "latest").readlink() == Path("2.0")
        assert bench.verified(copy / "latest") == "2.0"


@pytest.mark.parametrize("place", ["folder", *map(served, ("sftp", "s3"))], indirect=True)
def test_an_upload_that_was_cut_goes_on(bench: Bench, place: Place) -> None:
    release = bench.version("1.0")
    staging = ".1.0.partial" if place.target.renames else "1.0"
    place.target.put(staging, release.folder / "1.0", ["demo.iso"])
    place.target.write(f"{staging}/demo.iso.manifest.json", b"x" * len(FILES["demo.iso.manifest.json"]))
    place.target.write(f"{staging}/foreign", b"of an older attempt")
    heard = Heard()
    done = publisher(bench, "1.0", place.target, heard).publish()
    assert done.uploaded == COUNT + 6
    assert heard.notices == ["1 files of an upload that was cut are kept"]
    assert bench.verified(place.fetch()) == "1.0"


def test_large_files_are_sent_by_sftp(ssh_server: SshServer, tmp_path: Path) -> None:
    """Paramiko reads answers only after 100 blocks, so small files do not show this."""
    content = secrets.token_bytes(1 << 20) * 8
    (tmp_path / "image").write_bytes(content)
    target = open_target(ssh_server.url("sftp", tmp_path / "srv"), TargetOptions(ssh_config=ssh_server.config))
    with contextlib.closing(target):
        target.put("1.0", tmp_path, ["image"])
        assert target.digests("1.0", ["image"]) == {"image": hashlib.sha256(content).hexdigest()}


@pytest.mark.parametrize("other", ["a half folder", "another release", "a file"])
def test_what_has_the_name_of_a_version_is_kept(bench: Bench, tmp_path: Path, other: str) -> None:
    target = FolderTarget(tmp_path / "public")
    there = tmp_path / "public" / "1.0"
    if other == "another release":
        write_version(tmp_path / "public", "1.0", "server")
    elif other == "a half folder":
        there.mkdir(parents=True)
        (there / "demo.iso").touch()
    else:
        there.parent.mkdir()
        there.touch()
    before = sorted(path for path in (tmp_path / "public").rglob("*"))
    with pytest.raises(StagewrightError) as caught:
        publisher(bench, "1.0", target).publish()
    assert caught.value.reason is Reason.DUPLICATE_NAME
    assert sorted(path for path in (tmp_path / "public").rglob("*")) == before


def test_an_artifact_of_a_private_channel_is_not_published(tmp_path: Path) -> None:
    folder = write_release(tmp_path, "1.0")
    manifest = {"format": 1, "packages": [], "channel": {"name": "inside", "distributable": False}}
    (folder / "1.0/other.iso.manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        LocalRelease.read(folder)
    assert caught.value.reason is Reason.NOT_DISTRIBUTABLE


@pytest.mark.slow
def test_a_registry_has_a_version_as_an_artifact(bench: Bench, tmp_path: Path) -> None:
    if missing := registry.missing():
        pytest.skip(f"NOT TESTED: {', '.join(missing)}")
    shutil.copytree(bench.root / "1.0", tmp_path / "built")
    release = LocalRelease.read(tmp_path / "built")
    with registry.serve(tmp_path / "registry") as served:
        target = Registry.of(f"oci://{served.address}/demo/live")
        assert target.publish(release, Heard(), dry_run=True).dry_run
        assert target.publish(release, Heard()).uploaded == COUNT + 7
        assert target.publish(release, Heard()).uploaded == 0
        check_referrers(target, "1.0")
        for tag in ("1.0", "latest"):
            words = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false"]
            subprocess.run([*words, f"docker://{served.address}/demo/live:{tag}", f"dir:{tmp_path / tag}"], check=True)
            manifest = json.loads((tmp_path / tag / "manifest.json").read_text(encoding="utf-8"))
            for layer in manifest["layers"]:
                path = tmp_path / f"fetched-{tag}" / layer["annotations"]["org.opencontainers.image.title"]
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(tmp_path / tag / layer["digest"].removeprefix("sha256:"), path)
            assert bench.verified(tmp_path / f"fetched-{tag}") == "1.0", "by the pointer, which is in it"
        second = replace(target, keep=Keep(last=1)).publish(bench.version("2.0"), heard := Heard())
        assert (second.uploaded, second.removed) == (COUNT + 7, [])
        assert heard.notices == ["the registry does not delete old versions: 1.0"]
        target.publish(release, heard := Heard())
        assert heard.notices == [f"2.0 stays the newest version at oci://{served.address}/demo/live"]
        (tmp_path / "built/1.0/SHA256SUMS.asc").write_bytes(b"another signature")
        with pytest.raises(StagewrightError) as caught:
            target.publish(release, Heard())
        assert caught.value.reason is Reason.DUPLICATE_NAME


def listed(target: Registry, digest: str) -> list[dict[str, Any]]:
    """The referrers of a manifest, from the index that clients read in a registry without the API."""
    data = target.repository.manifest(digest.replace(":", "-"))
    return list(json.loads(data)["manifests"]) if data else []


def check_referrers(target: Registry, version: str) -> None:
    """Check the referrers of a version by the text of the specifications; one that is lost comes back."""
    digest = digest_of(target.repository.manifest(version) or b"")
    found = listed(target, digest)
    types = ["application/spdx+json", "application/vnd.cyclonedx+json", *["application/vnd.in-toto+json"] * 2]
    types += ["application/pgp-signature", MINISIGN_TYPE] * 2
    assert sorted(one["artifactType"] for one in found) == sorted(types)
    for one in found:
        data = target.repository.manifest(one["digest"]) or b""
        manifest = json.loads(data)
        assert (digest_of(data), len(data)) == (one["digest"], one["size"])
        assert manifest["subject"]["digest"] == digest
        assert (manifest["artifactType"], manifest["annotations"]) == (one["artifactType"], one["annotations"])
        assert [layer["annotations"][TITLE] for layer in manifest["layers"]] == [one["annotations"][TITLE]]
    assert RegistryApi(target.repository).referrers(digest) is None, "this registry does not know the request"


@pytest.mark.slow
def test_a_registry_deletes_versions_that_no_rule_keeps(tmp_path: Path) -> None:
    if missing := registry.missing():
        pytest.skip(f"NOT TESTED: {', '.join(missing)}")
    releases = [plain(tmp_path / str(number), f"{number}.0", date=DATE + number * DAY) for number in range(1, 4)]
    with registry.serve(tmp_path / "registry", delete=True) as served:
        target = Registry.of(f"oci://{served.address}/demo/live", Keep(last=1))
        repository = target.repository
        target.publish(releases[0], Heard())
        digest = digest_of(repository.manifest("1.0") or b"")
        first, *lost = listed(target, digest)
        other = {**first, "digest": digest, "size": len(repository.manifest("1.0") or b""), "artifactType": "a/other"}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [first, other]}
        assert RegistryApi(repository).put_index(digest.replace(":", "-"), json.dumps(index).encode())
        target.publish(releases[0], Heard())
        assert listed(target, digest) == [first, other, *lost], "a lost entry comes back, one of others stays"
        assert target.publish(releases[1], Heard(), dry_run=True).removed == ["1.0"]
        assert repository.delete(first["digest"]), "a removal that was cut"
        assert target.publish(releases[1], Heard()).removed == ["1.0"]
        second = digest_of(repository.manifest("2.0") or b"")
        assert set(repository.tags()) == {"2.0", "latest", digest.replace(":", "-"), second.replace(":", "-")}
        assert listed(target, digest) == [other]
        assert lost and not any(repository.manifest(one["digest"]) for one in lost)
        request = urllib.request.Request(
            f"http://{served.address}/v2/demo/live/manifests/stable",
            data=repository.manifest("2.0"),
            headers={"Content-Type": MANIFEST},
            method="PUT",
        )
        urllib.request.urlopen(request, timeout=60).close()
        assert target.publish(releases[2], heard := Heard()).removed == []
        assert heard.notices == ["2.0 stays: the tag stable names it too"]


def test_the_referrers_api_is_asked_with_a_login_and_read_by_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in: Debian has no registry with this API."""
    digest = f"sha256:{'a' * 64}"
    path = f"/v2/demo/live/referrers/{digest}"
    with serve(tmp_path) as site:
        host = site.url.removeprefix("http://")
        login = {"auths": {host: {"auth": "dXNlcjpwYXNz"}}}
        (tmp_path / "auth.json").write_text(json.dumps(login), encoding="utf-8")
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))

        def token(handler: Handler, _: bytes) -> None:
            assert handler.headers["Authorization"] == "Basic dXNlcjpwYXNz"
            handler.answer(200, b'{"token": "t"}')

        def page(handler: Handler, _: bytes) -> None:
            if handler.headers["Authorization"] != "Bearer t":
                challenge = f'Bearer realm="{site.url}/token",service="s"'
                handler.answer(401, b"", **{"WWW-Authenticate": challenge})
                return
            name, more = ("two", {}) if "?" in handler.path else ("one", {"Link": f'<{path}?last=1>; rel="next"'})
            body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"digest": name}]}
            handler.answer(200, json.dumps(body).encode(), **more)

        site.hooks["/token?service=s&scope=repository%3Ademo%2Flive%3Apull"] = token
        site.hooks.update({path: page, f"{path}?last=1": page})
        found = RegistryApi(Repository(f"{host}/demo/live")).referrers(digest)
    assert found == [{"digest": "one"}, {"digest": "two"}]


def test_statements_about_a_release_are_referrers_by_their_types() -> None:
    names = [
        "pxe/a.spdx.json",
        "a.cdx.json",
        "a.provenance.json",
        "SHA256SUMS.asc",
        "DIGESTS.minisig",
        "a.asc",
        "a.iso",
    ]
    found = [statement_type(f"1.0/{name}") for name in names]
    types = ["application/spdx+json", "application/vnd.cyclonedx+json", "application/vnd.in-toto+json"]
    assert found == [*types, "application/pgp-signature", MINISIGN_TYPE, "", ""]


class Cut(BaseException):
    """The end of a publisher, like a power failure."""


@dataclass
class Faulty:
    """A target that fails before the operation with a number: once with an error, or by the end of the publisher."""

    inner: Target
    at: int
    error: BaseException
    calls: int = 0
    reopened: int = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found) or name == "close":
            return found
        return lambda *arguments: self.call(name, found, arguments)

    def call(self, name: str, action: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if name == "reopen":
            self.reopened += 1
            return None
        self.calls += 1
        if self.calls == self.at:
            if name == "put":  # a part of the file was sent
                self.inner.write(f"{arguments[0]}/.{arguments[2][0]}.part", b"part")
            raise self.error
        return action(*arguments)


@pytest.mark.slow
class Quick(FolderTarget):
    """A folder that does not wait for the disk."""

    @staticmethod
    def _settle(path: Path) -> None:
        pass


class Objects(Quick):
    """A folder that behaves like an object store: nothing can be renamed, and there are no links."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, renames=False)

    def link(self, path: str, target: str) -> bool:
        return False


@pytest.mark.parametrize("kind", [Quick, Objects])
def test_users_see_a_whole_release_wherever_an_upload_is_cut(tmp_path: Path, kind: Callable[[Path], Target]) -> None:
    old, new = plain(tmp_path, "1.0"), plain(tmp_path, "2.0", date=DATE + DAY)
    seen = set()
    for at in range(1, 1000):
        folder = tmp_path / f"target-{at}"
        Publisher(old, kind(folder), Heard(), retries=FAST).publish()
        faulty = Faulty(kind(folder), at, Cut())
        try:
            Publisher(new, faulty, Heard(), Keep(last=1), retries=FAST).publish()
        except Cut:
            seen.add(version := verify_place(str(folder), TrustedKeys(), None)[0].version)
            assert version in ("1.0", "2.0")
            assert [name for name in os.listdir(folder) if name[0] != "." and "." in name and name[0].isdigit()]
            for name in set(os.listdir(folder)) & {"1.0", "2.0"}:
                half = not kind(folder).renames and not (folder / name / "SHA256SUMS").exists()
                assert half or verify_place(str(folder / name), TrustedKeys(), None)
            Publisher(new, kind(folder), Heard(), Keep(last=1), retries=FAST).publish()
            left = {name for name in os.listdir(folder) if not name.startswith("latest")}
            assert left == {"2.0"}, "the next run removes what was left"
        else:
            break
    assert seen == {"1.0", "2.0"} and at > 25


def test_a_failure_that_passes_is_reported_and_tried_again(tmp_path: Path) -> None:
    release = plain(tmp_path, "1.0")
    for at in (1, 5, 15):
        heard, faulty = Heard(), Faulty(FolderTarget(tmp_path / f"{at}"), at, ConnectionResetError("reset by peer"))
        Publisher(release, faulty, heard, retries=FAST).publish()
        assert faulty.reopened == 1
        assert [text for text in heard.notices if "reset by peer; attempt 2 in 0.01 seconds" in text]
        assert verify_place(str(tmp_path / f"{at}"), TrustedKeys(), None)
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    with pytest.raises((StagewrightError, NotADirectoryError)):
        Publisher(release, FolderTarget(blocked / "below"), Heard(), retries=FAST).publish()


def test_failures_of_libraries_are_those_of_the_target() -> None:
    """They are tried again, but not if a service has refused the request. A defect is raised at once."""

    class LostError(Exception):
        __module__ = "botocore.exceptions"

    refused, calls = LostError("no such bucket"), list[Exception]()
    refused.response = {"ResponseMetadata": {"HTTPStatusCode": 404}}  # type: ignore[attr-defined]
    for error, count, expected in ((LostError("gone"), 3, StagewrightError), (refused, 1, StagewrightError)):

        def fail(error: Exception = error) -> None:
            calls.append(error)
            raise error

        with pytest.raises(expected):
            Attempts("s3://x", heard := Heard(), FAST)("upload", fail)
        assert (len(calls), len(heard.notices)) == (count, count - 1)
        calls.clear()
    with pytest.raises(AttributeError):
        Attempts("s3://x", Heard(), FAST)("upload", lambda: None.missing)  # type: ignore[attr-defined]


def test_a_registry_that_is_down_is_tried_again(tmp_path: Path) -> None:
    if registry.missing():
        pytest.skip("NOT TESTED: no skopeo")
    target, heard = Registry(Repository(f"127.0.0.1:{free_port()}/demo"), retries=Retries((0.01,))), Heard()
    with pytest.raises(StagewrightError) as caught:
        target.publish(plain(tmp_path, "1.0"), heard)
    assert caught.value.reason is Reason.FETCH_FAILED
    assert len(heard.notices) == 1 and "attempt 2 in 0.01 seconds" in heard.notices[0]


def test_a_file_that_arrives_damaged_is_sent_again(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Damaging(FolderTarget):
        times: list[int] = field(default_factory=lambda: [1])

        def put(self, folder: str, source: Path, names: Sequence[str]) -> None:
            super().put(folder, source, names)
            if names[0] == "demo.iso" and self.times[0] > 0:
                self.times[0] -= 1
                (self.folder / folder / names[0]).write_bytes(b"damaged")

    release, heard = plain(tmp_path, "1.0"), Heard()
    Publisher(release, Damaging(tmp_path / "one"), heard, retries=FAST).publish()
    assert heard.notices == ["demo.iso was uploaded with errors: once more"]
    assert verify_place(str(tmp_path / "one"), TrustedKeys(), None)
    with pytest.raises(StagewrightError) as caught:
        Publisher(release, Damaging(tmp_path / "two", times=[2]), Heard(), retries=FAST).publish()
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert not [name for name in os.listdir(tmp_path / "two") if not name.startswith(".")]


def test_a_published_version_never_changes(tmp_path: Path) -> None:
    release = plain(tmp_path, "1.0")
    Publisher(release, FolderTarget(tmp_path / "target"), Heard()).publish()
    shutil.rmtree(tmp_path / "1.0")
    other = plain(tmp_path, "1.0", date=DATE + 1)
    with pytest.raises(StagewrightError) as caught:
        Publisher(other, FolderTarget(tmp_path / "target"), Heard()).publish()
    assert caught.value.reason is Reason.DUPLICATE_NAME


def test_an_older_version_does_not_become_the_newest(tmp_path: Path) -> None:
    target = FolderTarget(tmp_path / "target")
    Publisher(plain(tmp_path, "1.10"), target, Heard()).publish()
    Publisher(plain(tmp_path, "1.9"), target, heard := Heard()).publish()
    assert "1.10 stays the newest version" in heard.notices[-1]
    assert verify_place(str(target.folder), TrustedKeys(), None)[0].version == "1.10"


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    release, target = plain(tmp_path, "1.0"), FolderTarget(tmp_path / "target")
    said = Publisher(release, target, Heard()).publish(dry_run=True)
    assert (said.uploaded, said.dry_run) == (COUNT + 3, True)
    assert not target.folder.exists()


def test_a_release_that_others_must_not_get_is_refused(tmp_path: Path) -> None:
    channel: dict[str, object] = {"name": "private", "distributable": False, "accept_license": ["*"]}
    write_release(tmp_path, "1.0", channel=channel)
    with pytest.raises(StagewrightError) as caught:
        LocalRelease.read(tmp_path)
    assert caught.value.reason is Reason.NOT_DISTRIBUTABLE


def test_rules_keep_versions() -> None:
    days = [DatedVersion(f"{number}", DATE + 10 * number * DAY) for number in range(40)]  # 13 months

    def kept(keep: Keep) -> list[str]:
        removed = keep.removed(days)
        return [one.version for one in days if one not in removed]

    assert kept(Keep()) == [one.version for one in days]
    assert kept(Keep(last=2)) == ["38", "39"]
    assert kept(Keep(last=0)) == ["39"]
    assert kept(Keep(monthly=2)) == ["36", "39"]
    assert kept(Keep(last=1, monthly=2, yearly=9)) == ["8", "36", "39"]


@pytest.mark.parametrize(
    "word",
    [
        "https://x/y",
        "sftp://host",
        "sftp://u:secret@h/x",
        "rsync://-oProxyCommand=x/y",
        "nonsense://x/y",
        "simplecache::s3://x/y",
    ],
)
def test_other_targets_are_refused(word: str) -> None:
    with pytest.raises(StagewrightError) as caught:
        open_target(word, TargetOptions())
    assert caught.value.reason in (Reason.USAGE, Reason.MISSING_TOOL)
    assert "secret" not in str(caught.value)


def test_a_server_with_another_key_is_refused(ssh_server: SshServer, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("UserKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n", encoding="utf-8")
    for scheme in ("sftp", "rsync"):
        target = open_target(ssh_server.url(scheme, tmp_path), TargetOptions(ssh_config=config))
        with contextlib.closing(target), pytest.raises(StagewrightError) as caught:
            target.entries()
        assert caught.value.reason is Reason.FETCH_FAILED
        assert "Host key verification failed" in caught.value.detail


def test_pages_menus_and_feeds(tmp_path: Path) -> None:
    releases = [plain(tmp_path, "1.0"), plain(tmp_path, "2.0", date=DATE + DAY)]
    versions = [one.description for one in reversed(releases)]
    pages = Pages("https://example.org/live/")(versions)
    assert set(pages) == {"index.html", "feed.xml", "boot.ipxe", "endpoints.yml"}
    assert pages["index.html"].index("2.0/demo.iso") < pages["index.html"].index("1.0/demo.iso")
    feed = ElementTree.fromstring(pages["feed.xml"])
    links = [item.findtext("link") for item in feed.iter("item")]
    assert links == ["https://example.org/live/2.0/", "https://example.org/live/1.0/"]
    assert "\nitem 2.0/pxe 2.0 pxe\nitem 1.0/pxe 1.0 pxe\n" in pages["boot.ipxe"]
    names = ["pxe/boot.ipxe", "pxe/boot/gentoo", 'pxe/"a: b".txt']
    versions[0] = replace(versions[0], files=dict.fromkeys([*names, "demo.iso"], 1))
    endpoints = yaml.safe_load(Pages("https://example.org/live/")(versions)["endpoints.yml"])["endpoints"]
    assert list(endpoints) == ["demo-live-2.0-pxe", "demo-live-1.0-pxe"]
    found = endpoints["demo-live-2.0-pxe"]
    assert (found["path"], found["version"]) == ("/live/2.0/pxe/", "2.0")
    assert [f"pxe/{name}" for name in found["files"]] == names
    assert set(Pages()(versions)) == {"index.html", "boot.ipxe"}, "without an address"


@pytest.mark.slow
def test_ipxe_shows_the_menu_and_starts_the_newest_version(tmp_path: Path) -> None:
    """A machine without a disk runs the published ``boot.ipxe``, waits for the menu, and reads the newest set."""
    program = shutil.which("qemu-system-x86_64") or pytest.skip("NOT TESTED: no qemu-system-x86_64")

    def hasty(versions: Sequence[Description]) -> Mapping[str, str]:
        return {name: text.replace("--timeout 10000", "--timeout 1000") for name, text in Pages()(versions).items()}

    target = FolderTarget(tmp_path / "public")
    for version, date in (("1.0", DATE), ("2.0", DATE + DAY)):
        Publisher(plain(tmp_path, version, date=date), target, Heard(), pages=hasty).publish()
    wanted = ["/boot.ipxe", "/2.0/pxe/boot.ipxe", "/2.0/pxe/boot/gentoo"]
    with serve(target.folder) as site:
        script = f"bootfile=http://10.0.2.2:{site.url.rpartition(':')[2]}/boot.ipxe"
        words = ["-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none", "-serial", "none"]
        words += ["-netdev", f"user,id=n,{script}", "-device", "virtio-net-pci,netdev=n,bootindex=1"]
        with subprocess.Popen([program, *words], stdin=subprocess.DEVNULL) as machine:
            try:
                end = time.monotonic() + 300
                while not site.sent[wanted[-1]] and machine.poll() is None and time.monotonic() < end:
                    time.sleep(0.1)
            finally:
                machine.kill()
        assert [path for path, _ in site.asked][: len(wanted)] == wanted


def test_templates_of_a_project_replace_and_add_pages(tmp_path: Path) -> None:
    version = replace(plain(tmp_path, "1.0").description, project={"name": "a<b>"})
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "index.html").write_text("<p>{{ newest.identity }}</p>", encoding="utf-8")
    (templates / "versions.txt.j2").write_text("{{ newest.identity }}", encoding="utf-8")
    pages = Pages(templates=templates)([version])
    assert pages["index.html"] == "<p>a&lt;b&gt;/live</p>"
    assert pages["versions.txt"] == "a<b>/live"
    (templates / "index.html").write_text("{{ missing }}", encoding="utf-8")
    with pytest.raises(StagewrightError) as caught:
        Pages(templates=templates)([version])
    assert caught.value.reason is Reason.INVALID_VALUE and "templates/index.html" in str(caught.value)
