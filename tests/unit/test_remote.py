"""Remote stores: what is pushed can be pulled, bit for bit; what was altered is refused; only what changed is sent."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from integration import registry
from integration.signing import Signer
from remote_results import artifact, check, key_of, layer
from servers import SshServer

from stagewright.engine.remotes import Remotes
from stagewright.engine.session import Session
from stagewright.errors import Reason, StagewrightError
from stagewright.events import Event, NodeNotice, ResultMoved
from stagewright.graph.node import Yields
from stagewright.project.remotes import Remote
from stagewright.publish.attempts import Attempts, Retries, translated
from stagewright.remote import keep
from stagewright.remote.caches import pull_cache, push_cache
from stagewright.remote.chunks import chunks_of
from stagewright.remote.file_places import FsspecPlace
from stagewright.remote.place import Blob, blob_path
from stagewright.remote.pull import pull
from stagewright.remote.push import push
from stagewright.remote.remote import RemoteStore
from stagewright.remote.sftp_place import SftpPlace, sftp_place
from stagewright.remote.shared_chunks import DIVIDED, latest
from stagewright.remote.statement import result_path
from stagewright.store.content import read_content
from stagewright.store.integrity import State
from stagewright.store.meta import Meta
from stagewright.store.store import Store

pytest.importorskip("zstandard", reason="NOT TESTED: zstandard is not installed")

root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: only root can make these layers")

FAST = Retries((0.01,))


def remote_at(url: str, **settings: Any) -> RemoteStore:
    made = RemoteStore.of("r", Remote.model_validate({"url": url, **settings}), Path("/"))
    return RemoteStore(made.name, made.place, made.policy, made.emit, 4, made.read_only, FAST)


@pytest.fixture
def folder(tmp_path: Path) -> RemoteStore:
    return remote_at(str(tmp_path / "remote"))


def blobs(remote: RemoteStore) -> dict[str, Path]:
    """The blobs of a remote in a folder, by digest."""
    return {path.name: path for path in Path(remote.place.name, "blobs").glob("*/*")}


def empty(store: Store, key: str) -> bool:
    """True if a store has no part of a result."""
    places = [store.folder(yields, key) for yields in Yields]
    return not any(place.exists() for place in places) and not list((store.path / "work").iterdir())


# every kind of place


@contextlib.contextmanager
def web_server(place: Path, handler: type = http.server.SimpleHTTPRequestHandler) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(place)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RemoteStore]:
    """A remote of the kind that a test names."""
    target = tmp_path / "srv" / "a store"
    with contextlib.ExitStack() as held:
        match request.param:
            case "folder":
                remote = remote_at(str(target))
            case "sftp":
                server: SshServer = request.getfixturevalue("ssh_server")
                remote = remote_at(server.url("sftp", target).replace(" ", "%20"), ssh_config=str(server.config))
            case "webdav":
                remote = remote_at(f"{request.getfixturevalue('webdav_server')}/a%20folder/{secrets.token_hex(4)}")
            case "s3":
                bucket = f"b{secrets.token_hex(8)}"
                remote = remote_at(f"s3://{bucket}/store", endpoint=request.getfixturevalue("s3_server"))
                remote.place.system.mkdir(bucket)  # type: ignore[attr-defined]
            case _:
                if registry.missing():
                    pytest.skip("NOT TESTED: no docker-registry or skopeo")
                served = held.enter_context(registry.serve(tmp_path / "registry", delete=True))
                remote = remote_at(f"oci://{served.address}/team/store")
        with contextlib.closing(remote):
            yield remote


def served(kind: str) -> Any:
    return pytest.param(kind, marks=pytest.mark.slow)


@root
@pytest.mark.parametrize("place", ["folder", *map(served, ("sftp", "s3", "webdav", "oci"))], indirect=True)
def test_results_come_back_with_everything_that_they_have(here: Store, there: Store, place: RemoteStore) -> None:
    base, image = layer(here, "one"), artifact(here, "two", os.urandom(9 << 20))
    assert place.results() == []
    sent = push(place, here, Yields.LAYER, base)
    assert sent.sent > 5 << 20
    assert push(place, here, Yields.LAYER, base).present
    push(place, here, Yields.ARTIFACT, image)
    assert sorted(place.results()) == sorted([(Yields.LAYER, base), (Yields.ARTIFACT, image)])
    assert pull(place, there, Yields.LAYER, key_of("unknown").digest) is None
    found = pull(place, there, Yields.LAYER, base)
    assert found and found.size == sent.size
    assert pull(place, there, Yields.ARTIFACT, image)
    for yields, key in ((Yields.LAYER, base), (Yields.ARTIFACT, image)):
        finding = check(there, yields, key)
        assert finding.state is State.WHOLE, finding.damages
        assert there.meta(yields, key) == here.meta(yields, key)
    assert there.records(Yields.LAYER, base).read_bytes() == b"records"
    assert not list(there.cache("remote").iterdir()) and not list((there.path / "work").iterdir())
    push(place, here, Yields.LAYER, layer(here, "three"))  # the same node again: its list of results is replaced
    assert len(latest(place, "base")) == 2
    keep.pin(place, Yields.LAYER, base, pinned=True)
    keep.pin(place, Yields.LAYER, base, pinned=False)
    kept = keep.inventory(place)
    assert sorted(one.statement.node for one in kept.results) == ["base", "base", "iso"]
    assert keep.check(place).problems == ()
    keep.collect(place, size=0)
    assert place.results() == []


@root
def test_a_web_server_is_enough_to_pull(here: Store, there: Store, folder: RemoteStore) -> None:
    key = layer(here, "one")
    push(folder, here, Yields.LAYER, key)
    with web_server(Path(folder.place.name), Quiet) as url:  # it knows no ranges
        remote = remote_at(url)
        assert not remote.writable
        assert pull(remote, there, Yields.LAYER, key)
        with pytest.raises(StagewrightError) as refused:
            push(remote, here, Yields.LAYER, key)
        remote.close()
    assert refused.value.reason is Reason.USAGE
    assert check(there, Yields.LAYER, key).state is State.WHOLE


# only what changed


def grown(store: Store, name: str, change: Callable[[Path], None], files: int = 700) -> str:
    """An artifact of many files of different sizes, which ``change`` changes."""
    key = key_of(name)
    work = store.new_work(key.digest)
    for number in range(files):
        path = work / "tree" / f"d{number % 30}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(secrets_of(number, 200 + number * number * 7919 % 60_000))
    change(work / "tree")
    store.commit(work / "tree", Yields.ARTIFACT, Meta(key.digest, "grown", "stage4", 1.0, 1, key.data))
    work.rmdir()
    return key.digest


@functools.cache
def secrets_of(number: int, size: int) -> bytes:
    """Bytes that do not compress, the same for each call."""
    import random

    return random.Random(number).randbytes(size)


def test_a_result_that_differs_in_one_percent_moves_at_most_five_percent(
    here: Store, there: Store, folder: RemoteStore
) -> None:
    def scattered(tree: Path) -> None:
        for number in range(7, 700, 100):  # 1 % of the files, all over the tree
            (tree / f"d{number % 30}" / f"f{number}").write_bytes(os.urandom(30_000))

    first = push(folder, here, Yields.ARTIFACT, grown(here, "a", lambda tree: None))
    key = grown(here, "b", scattered)
    second = push(folder, here, Yields.ARTIFACT, key)
    assert second.sent < 0.05 * first.sent, (second.sent, first.sent)
    assert pull(folder, there, Yields.ARTIFACT, key)
    assert check(there, Yields.ARTIFACT, key).state is State.WHOLE


def test_a_large_file_with_changed_and_inserted_bytes_sends_the_pieces_around_them(
    here: Store, there: Store, folder: RemoteStore
) -> None:
    pytest.importorskip("pyfastcdc.cy", reason="NOT TESTED: pyfastcdc is not installed")
    data = bytearray(secrets_of(1, 24 << 20))
    first = push(folder, here, Yields.ARTIFACT, artifact(here, "a", bytes(data)))
    data[5 << 20] ^= 1
    data[9 << 20 : 9 << 20] = b"inserted"
    key = artifact(here, "b", bytes(data))
    second = push(folder, here, Yields.ARTIFACT, key)
    assert second.sent < 0.12 * first.sent, (second.sent, first.sent)
    assert pull(folder, there, Yields.ARTIFACT, key)
    assert check(there, Yields.ARTIFACT, key).state is State.WHOLE
    third = artifact(here, "c", bytes(data))  # the same file again
    assert push(folder, here, Yields.ARTIFACT, third).sent < 20_000


def test_the_chunks_after_a_change_stay_the_same(here: Store) -> None:
    def insert(tree: Path) -> None:
        (tree / "d1" / "aaa").write_bytes(b"new" * 500)

    lists = [
        {chunk.name for chunk in chunks_of(read_content(here.folder(Yields.ARTIFACT, key) / "content.gz"))}
        for key in (grown(here, "a", lambda tree: None), grown(here, "b", insert))
    ]
    assert len(lists[1] - lists[0]) <= 2


def test_a_push_whose_shared_blobs_were_removed_sends_them_again(
    here: Store, there: Store, folder: RemoteStore
) -> None:
    first = push(folder, here, Yields.ARTIFACT, grown(here, "a", lambda tree: None, 200))
    for path in blobs(folder).values():
        if path.stat().st_size > 1 << 20:
            path.unlink()
    key = grown(here, "b", lambda tree: (tree / "more").write_text("x"), 200)
    assert push(folder, here, Yields.ARTIFACT, key).sent > 0.9 * first.sent
    assert pull(folder, there, Yields.ARTIFACT, key)


# hostile and broken remotes


def pushed(here: Store, folder: RemoteStore) -> str:
    key = artifact(here, "one", os.urandom(3 << 20))
    push(folder, here, Yields.ARTIFACT, key)
    return key


def rewritten(folder: RemoteStore, key: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the statement about a result."""
    path = Path(folder.place.name, result_path(Yields.ARTIFACT, key))
    document = json.loads(path.read_text(encoding="utf-8"))
    statement = json.loads(document["statement"])
    change(statement)
    path.write_text(json.dumps({**document, "statement": json.dumps(statement)}), encoding="utf-8")


def replaced_list(folder: RemoteStore, key: str, change: Callable[[list[list[Any]]], None]) -> None:
    """Replace the list of a result and everything that names it, as a hostile remote can."""
    import hashlib

    def put(data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        target = Path(folder.place.name, blob_path(digest))
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
        return {"digest": digest, "size": len(data)}

    def swap(statement: dict[str, Any]) -> None:
        parts = statement["parts"]
        known = blobs(folder)
        lines = [
            json.loads(line) for line in gzip.decompress(known[parts["content"]["digest"]].read_bytes()).splitlines()
        ]
        change(lines)
        text = b"".join(json.dumps(line, separators=(",", ":")).encode() + b"\n" for line in lines)
        meta = Meta(**json.loads(known[parts["meta"]["digest"]].read_bytes()))
        data = {**meta.__dict__, "content": f"sha256:{hashlib.sha256(text).hexdigest()}", "seal": ""}
        parts["content"] = put(gzip.compress(text))
        parts["meta"] = put(Meta(**data).sealed().text(indent=1).encode())

    rewritten(folder, key, swap)


def other_name(name: str) -> Callable[[list[list[Any]]], None]:
    def change(lines: list[list[Any]]) -> None:
        lines[-1][1] = name

    return change


def other_type(kind: str, content: str) -> Callable[[list[list[Any]]], None]:
    def change(lines: list[list[Any]]) -> None:
        lines.append([1, "x", kind, 0o600, 0, 0, 0, 0, content, {}])

    return change


LISTS: dict[str, tuple[Callable[[list[list[Any]]], None], set[Reason]]] = {
    "a path upwards": (other_name(".."), {Reason.UNSAFE_ARCHIVE}),
    "a name with slashes": (other_name("../../etc/passwd"), {Reason.UNSAFE_ARCHIVE}),
    "an absolute name": (other_name("/etc/passwd"), {Reason.UNSAFE_ARCHIVE}),
    "a name with NUL": (other_name("a\0b"), {Reason.UNSAFE_ARCHIVE}),
    "a disk": (other_type("block", "8:0"), {Reason.UNSAFE_ARCHIVE}),
    "a device": (other_type("char", "1:1"), {Reason.UNSAFE_ARCHIVE}),
    "an unknown type": (other_type("door", ""), {Reason.UNSAFE_ARCHIVE}),
    "a hard link to nothing": (other_type("file", "=77"), {Reason.UNSAFE_ARCHIVE}),
    "the same name twice": (lambda lines: lines.append(lines[-1]), {Reason.UNSAFE_ARCHIVE, Reason.BAD_LISTING}),
    "an entry below nothing": (
        lambda lines: lines.append([9, "x", "file", 0o600, 0, 0, 0, 0, "", {}]),
        {Reason.UNSAFE_ARCHIVE},
    ),
    "another part": (
        lambda lines: lines.insert(1, [0, "meta.json", "file", 0o600, 0, 0, 0, 0, "", {}]),
        {Reason.UNSAFE_ARCHIVE},
    ),
    "a trusted attribute": (
        lambda lines: lines.append([1, "x", "folder", 0o755, 0, 0, 0, 0, "", {"security.selinux": "00"}]),
        {Reason.UNSAFE_ARCHIVE},
    ),
    "numbers that are texts": (
        lambda lines: lines.append([1, "x", "folder", "0755", 0, 0, 0, 0, "", {}]),
        {Reason.UNSAFE_ARCHIVE},
    ),
    "another digest": (lambda lines: lines[-1].__setitem__(8, "0" * 64), {Reason.DIGEST_MISMATCH}),
}


@pytest.mark.parametrize("title", LISTS)
def test_a_list_that_no_build_has_made_is_refused(here: Store, there: Store, folder: RemoteStore, title: str) -> None:
    change, reasons = LISTS[title]
    key = pushed(here, folder)
    replaced_list(folder, key, change)
    with pytest.raises(StagewrightError) as refused:
        pull(folder, there, Yields.ARTIFACT, key)
    assert refused.value.reason in reasons, refused.value
    assert empty(there, key)


def test_a_link_in_the_list_leads_nowhere(here: Store, there: Store, folder: RemoteStore, tmp_path: Path) -> None:
    def through_a_link(lines: list[list[Any]]) -> None:
        lines.append([1, "out", "link", 0o777, 65534, 65534, 0, 0, str(tmp_path), {}])
        lines.append([2, "file", "file", 0o644, 65534, 65534, 0, 0, "", {}])

    key = pushed(here, folder)
    replaced_list(folder, key, through_a_link)
    with pytest.raises(StagewrightError) as refused:
        pull(folder, there, Yields.ARTIFACT, key)
    assert refused.value.reason is Reason.UNSAFE_ARCHIVE
    assert not (tmp_path / "file").exists() and empty(there, key)


STATEMENTS: dict[str, tuple[Callable[[dict[str, Any]], None], Reason]] = {
    "another key": (lambda one: one.update(key="0" * 64), Reason.WRONG_NAME),
    "another stack": (lambda one: one.update(stack=["0" * 64]), Reason.DIGEST_MISMATCH),
    "no parts": (lambda one: one.update(parts={}), Reason.BAD_LISTING),
    "a size below zero": (lambda one: one.update(size=-1), Reason.BAD_LISTING),
    "another size": (lambda one: one.update(size=17), Reason.BAD_LISTING),
    "more bytes than a blob has": (lambda one: one["packs"][0].update(size=99), Reason.BAD_LISTING),
    "a blob that is missing": (lambda one: one["parts"]["meta"].update(digest="0" * 64), Reason.NOT_FOUND),
    "a longer blob": (lambda one: one["parts"]["meta"].update(size=9_999), Reason.FETCH_CUT),
    "a shorter blob": (lambda one: one["parts"]["meta"].update(size=9), Reason.DIGEST_MISMATCH),
}


@pytest.mark.parametrize("title", STATEMENTS)
def test_a_false_statement_is_refused(here: Store, there: Store, folder: RemoteStore, title: str) -> None:
    change, reason = STATEMENTS[title]
    key = pushed(here, folder)
    rewritten(folder, key, change)
    with pytest.raises(StagewrightError) as refused:
        pull(folder, there, Yields.ARTIFACT, key)
    assert refused.value.reason is reason, refused.value
    assert empty(there, key)


def test_each_altered_or_cut_blob_is_refused_and_found(here: Store, there: Store, folder: RemoteStore) -> None:
    key = pushed(here, folder)
    statement = folder.statement(Yields.ARTIFACT, key)
    assert statement
    for digest, path in blobs(folder).items():
        if digest == statement.parts[DIVIDED].digest:  # only for pushes
            continue
        whole = path.read_bytes()
        middle = len(whole) // 2
        for damaged in (whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :], whole[:middle], b""):
            path.write_bytes(damaged)
            with pytest.raises(StagewrightError) as refused:
                pull(folder, there, Yields.ARTIFACT, key)
            assert refused.value.reason.exit in {1, 2}, refused.value
            assert empty(there, key), digest
        assert [problem[0].key for problem in keep.check(folder).problems if problem[0]] == [key]
        path.write_bytes(whole)
    assert pull(folder, there, Yields.ARTIFACT, key)


@contextlib.contextmanager
def answering(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[RemoteStore]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):
                answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    remote = remote_at(f"http://127.0.0.1:{server.server_port}")
    try:
        yield remote
    finally:
        remote.close()
        server.shutdown()
        thread.join()
        server.server_close()


def endless(request: http.server.BaseHTTPRequestHandler) -> None:
    request.send_response(206)
    request.end_headers()
    while True:
        request.wfile.write(b"{" * 65536)


def test_an_endless_answer_ends(there: Store) -> None:
    with answering(endless) as remote, pytest.raises(StagewrightError) as refused:
        pull(remote, there, Yields.ARTIFACT, key_of("x").digest)
    assert refused.value.reason is Reason.WRONG_LENGTH


def test_a_slow_answer_ends(there: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(206)
        request.end_headers()
        for _ in range(100):
            request.wfile.write(b"{")
            time.sleep(0.02)

    monkeypatch.setattr("stagewright.remote.place.PATIENCE", 0.2)
    with answering(slow) as remote, pytest.raises(StagewrightError) as refused:
        pull(remote, there, Yields.ARTIFACT, key_of("x").digest)
    assert refused.value.reason is Reason.FETCH_STALLED


def test_a_transfer_that_was_cut_goes_on(here: Store, there: Store, folder: RemoteStore) -> None:
    image = os.urandom(40 << 20)
    key = artifact(here, "one", image)
    first = push(folder, here, Yields.ARTIFACT, key)
    packs = [path for path in blobs(folder).values() if path.stat().st_size > 1 << 20]
    assert len(packs) > 2
    hidden = packs[-1].rename(packs[-1].with_name("hidden"))
    with pytest.raises(StagewrightError):
        pull(folder, there, Yields.ARTIFACT, key)
    assert empty(there, key)
    arrived = sum(path.stat().st_size for path in there.cache("remote").iterdir())
    hidden.rename(packs[-1])
    found = pull(folder, there, Yields.ARTIFACT, key)
    assert found and found.received < first.sent - arrived + (1 << 20) and arrived > 8 << 20
    Path(folder.place.name, result_path(Yields.ARTIFACT, key)).unlink()
    again = push(folder, here, Yields.ARTIFACT, key)
    assert again.sent < 1 << 20  # the blobs were there


# signatures


def test_results_without_a_signature_of_a_trusted_key_are_refused(
    here: Store, there: Store, folder: RemoteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = Signer.make(tmp_path / "mine"), Signer.make(tmp_path / "other")
    mine.public(tmp_path / "key.asc")
    place = folder.place.name
    trusting = {"signers": [mine.fingerprint], "keyring": str(tmp_path / "key.asc")}
    key = artifact(here, "one")

    def result_of(**sign: str) -> Reason | None:
        shutil.rmtree(place, ignore_errors=True)
        push(remote_at(place, **sign), here, Yields.ARTIFACT, key)
        try:
            assert pull(remote_at(place, **trusting), there, Yields.ARTIFACT, key)
        except StagewrightError as error:
            assert empty(there, key)
            return error.reason
        return None

    assert result_of() is Reason.NO_SIGNATURE
    monkeypatch.setenv("GNUPGHOME", str(other.home))
    assert result_of(sign=other.fingerprint) is Reason.UNKNOWN_SIGNER
    monkeypatch.setenv("GNUPGHOME", str(mine.home))
    push(remote_at(place, sign=mine.fingerprint), here, Yields.ARTIFACT, artifact(here, "two"))
    assert result_of(sign=mine.fingerprint) is None
    rewritten(folder, key, lambda one: one.update(node="other"))
    shutil.rmtree(there.folder(Yields.ARTIFACT, key))
    with pytest.raises(StagewrightError) as refused:
        pull(remote_at(place, **trusting), there, Yields.ARTIFACT, key)
    assert refused.value.reason is Reason.BAD_SIGNATURE


# keeping


def test_the_least_recently_used_go_first_and_pins_and_leases_stay(here: Store, folder: RemoteStore) -> None:
    keys = [artifact(here, str(number), os.urandom(1 << 20)) for number in range(5)]
    for key in keys:
        push(folder, here, Yields.ARTIFACT, key)
    base = Path(folder.place.name)
    for age, key in enumerate(keys):  # the first one is the oldest
        when = time.time() - (10 - age) * 86400
        os.utime(base / result_path(Yields.ARTIFACT, key), (when, when))
    keep.pin(folder, Yields.ARTIFACT, keys[0], pinned=True)
    with folder.lease([keys[1]]):
        found = keep.collect(folder, size=(3 << 20) + 300_000)
        assert [one.statement.key for one in found.removed] == keys[2:4]
        assert found.freed > 2 << 20
        assert [key for _, key in folder.results()] == sorted([keys[0], keys[1], keys[4]])
    keep.pin(folder, Yields.ARTIFACT, keys[0], pinned=False)
    assert {one.statement.key for one in keep.collect(folder, days=8.5).removed} == {keys[0], keys[1]}
    assert not list((base / "leases").iterdir())


def test_a_lease_is_renewed_while_its_program_runs(
    here: Store, folder: RemoteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = artifact(here, "one", b"x")
    push(folder, here, Yields.ARTIFACT, key)
    monkeypatch.setattr("stagewright.remote.remote.LEASE", 0.4)
    with folder.lease([key]):
        time.sleep(1)
        assert not keep.collect(folder, days=0).removed
    assert keep.collect(folder, days=0).removed


def test_a_blob_that_another_result_shares_stays(here: Store, there: Store, folder: RemoteStore) -> None:
    keys = [grown(here, name, lambda tree: None, 100) for name in ("a", "b")]
    for key in keys:
        push(folder, here, Yields.ARTIFACT, key)
    Path(folder.place.name, result_path(Yields.ARTIFACT, keys[0])).touch()
    os.utime(Path(folder.place.name, result_path(Yields.ARTIFACT, keys[0])), (1, 1))
    assert [one.statement.key for one in keep.collect(folder, days=1).removed] == [keys[0]]
    assert pull(folder, there, Yields.ARTIFACT, keys[1])


@pytest.mark.parametrize("place", ["folder", "sftp", "webdav", "s3"], indirect=True)
def test_uploads_that_were_given_up_are_removed_after_a_time(
    here: Store, there: Store, place: RemoteStore, tmp_path: Path
) -> None:
    key = pushed(here, place)
    give_up(place, tmp_path / "srv" / "a store")
    (upload,) = place.unfinished()
    is_old = upload.time < time.time() - keep.GRACE  # with moto, every upload in parts has begun in 2010
    assert keep.collect(place, dry_run=True).uploads == is_old  # a new one may run
    assert keep.collect(place, grace=-9, dry_run=True).uploads == 1
    assert keep.collect(place, grace=-9).uploads == 1
    assert place.unfinished() == []
    assert pull(place, there, Yields.ARTIFACT, key)


def give_up(remote: RemoteStore, folder: Path) -> None:
    """Begin to upload a blob, and leave it."""
    if not isinstance(remote.place, FsspecPlace):
        (folder / "blobs/ab").mkdir(exist_ok=True)
        (folder / "blobs/ab/.abcd.0123").write_bytes(b"a part")
        return
    system, path = remote.place.system, f"{remote.place.prefix}/blobs/ab"
    if hasattr(system, "call_s3"):
        bucket, _, name = path.partition("/")
        system.call_s3("create_multipart_upload", Bucket=bucket, Key=f"{name}/abcd")
    else:
        system.makedirs(path, exist_ok=True)
        system.pipe_file(f"{path}/.abcd.0123", b"a part")


def test_files_of_caches_are_shared_and_a_false_path_is_refused(here: Store, there: Store, folder: RemoteStore) -> None:
    (here.cache("distfiles") / "foo-1.tar.xz").write_bytes(b"source")
    (here.cache("distfiles") / "bar.part").write_bytes(b"unfinished")
    assert push_cache(folder, here, "distfiles").files == 1
    assert push_cache(folder, here, "distfiles").files == 0
    assert pull_cache(folder, there, "distfiles").files == 1
    assert (there.cache("distfiles") / "foo-1.tar.xz").read_bytes() == b"source"
    (document,) = Path(folder.place.name, "caches/distfiles").iterdir()
    data = json.loads(document.read_text(encoding="utf-8"))
    document.write_text(json.dumps({**data, "path": "../../../escaped"}), encoding="utf-8")
    with pytest.raises(StagewrightError) as refused:
        pull_cache(folder, there, "distfiles")
    assert refused.value.reason is Reason.UNSAFE_ARCHIVE


@pytest.mark.parametrize("damage", ["blob", "document"])
def test_a_check_reads_files_of_caches_and_removes_damaged_ones(
    here: Store, there: Store, folder: RemoteStore, damage: str
) -> None:
    place = Path(folder.place.name)
    for name in ("foo-1.tar.xz", "bar-1.tar.xz"):
        (here.cache("distfiles") / name).write_bytes(name.encode())
    push_cache(folder, here, "distfiles")
    assert keep.check(folder) == keep.Check(0, 24, (), files=2)
    (document,) = (one for one in (place / "caches/distfiles").iterdir() if "foo-1" in one.read_text(encoding="utf-8"))
    blob = place / blob_path(json.loads(document.read_text(encoding="utf-8"))["sha256"])
    if damage == "blob":
        blob.write_bytes(b"foo-2.tar.xz")
    else:
        document.write_text('{"path": "foo-1.tar.xz"}', encoding="utf-8")
    ((statement, error),) = keep.check(folder, remove=True).problems
    assert statement is None
    assert error.reason is (Reason.DIGEST_MISMATCH if damage == "blob" else Reason.BAD_LISTING)
    assert (blob if damage == "blob" else document).name in error.message
    assert keep.check(folder) == keep.Check(0, 12, (), files=1)
    assert push_cache(folder, here, "distfiles").files == 1
    assert pull_cache(folder, there, "distfiles").files == 2
    assert (there.cache("distfiles") / "foo-1.tar.xz").read_bytes() == b"foo-1.tar.xz"


HOSTILE = [
    {"sha256": "../victim", "size": 99},
    {"sha256": "a" * 64, "size": -1},
    {"sha256": "a" * 64, "size": 1e9},
    {"sha256": "a" * 64, "size": True},
    {"sha256": ["a" * 64], "size": 1},
    [],
]


@pytest.mark.parametrize("text", [*map(json.dumps, HOSTILE), '{"sha256": "a", "size": 1e999}', "[" * 100_000])
def test_documents_of_strangers_mislead_neither_a_check_nor_a_pull(
    here: Store, there: Store, folder: RemoteStore, text: str
) -> None:
    place = Path(folder.place.name)
    victim = place.parent / "victim"
    victim.write_text("x" * 99, encoding="utf-8")
    (here.cache("distfiles") / "foo-1.tar.xz").write_bytes(b"source")
    push_cache(folder, here, "distfiles")
    (document,) = (place / "caches/distfiles").iterdir()
    (place / "caches/distfiles/0").write_text(text, encoding="utf-8")
    assert keep.collect(folder, grace=0).freed == 0  # the blobs of that document are unknown
    with pytest.raises(StagewrightError) as refused:
        pull_cache(folder, there, "distfiles")
    assert refused.value.reason is Reason.BAD_LISTING
    ((_, error),) = keep.check(folder, remove=True).problems
    assert error.reason is Reason.BAD_LISTING
    assert victim.exists()
    assert list((place / "caches/distfiles").iterdir()) == [document]
    assert keep.check(folder) == keep.Check(0, 6, (), files=1)


def test_a_check_keeps_a_blob_that_another_document_names_with_a_wrong_size(here: Store, folder: RemoteStore) -> None:
    place = Path(folder.place.name)
    (here.cache("distfiles") / "foo-1.tar.xz").write_bytes(b"source")
    push_cache(folder, here, "distfiles")
    (document,) = (place / "caches/distfiles").iterdir()
    data = json.loads(document.read_text(encoding="utf-8"))
    for name, size in (("0", 3), ("z", 600)):
        (document.parent / name).write_text(json.dumps({**data, "size": size}), encoding="utf-8")
    assert len(keep.check(folder, remove=True).problems) == 2
    assert list(document.parent.iterdir()) == [document]
    assert keep.check(folder) == keep.Check(0, 6, (), files=1)


def test_files_of_caches_without_a_signature_of_a_trusted_key_are_refused(
    here: Store, there: Store, folder: RemoteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Signer.make(tmp_path / "mine")
    mine.public(tmp_path / "key.asc")
    monkeypatch.setenv("GNUPGHOME", str(mine.home))
    signing = remote_at(folder.place.name, sign=mine.fingerprint)
    trusting = remote_at(folder.place.name, signers=[mine.fingerprint], keyring=str(tmp_path / "key.asc"))

    def refused() -> Reason:
        with pytest.raises(StagewrightError) as error:
            pull_cache(trusting, there, "distfiles")
        assert not list(there.cache("distfiles").iterdir())
        return error.value.reason

    (here.cache("distfiles") / "foo-1.tar.xz").write_bytes(b"source")
    push_cache(folder, here, "distfiles")
    assert refused() is Reason.NO_SIGNATURE
    assert push_cache(signing, here, "distfiles").files == 1  # it signs what is there
    assert push_cache(signing, here, "distfiles").files == 0
    (document,) = Path(folder.place.name, "caches/distfiles").iterdir()
    signed = document.read_text(encoding="utf-8")
    document.write_text(json.dumps({**json.loads(signed), "path": "other"}), encoding="utf-8")
    assert refused() is Reason.WRONG_NAME
    document.write_text(signed.replace("foo-1", "foo-2"), encoding="utf-8")
    assert refused() is Reason.BAD_SIGNATURE
    document.write_text(signed, encoding="utf-8")
    assert pull_cache(trusting, there, "distfiles").files == 1


# builds


def with_remote(project: Path, url: str, more: str = "") -> None:
    text = project.joinpath("stagewright.toml").read_text(encoding="utf-8")
    project.joinpath("stagewright.toml").write_text(f'{text}[remotes.r]\nurl = "{url}"\n{more}', encoding="utf-8")


@root
@pytest.mark.slow
def test_a_build_pushes_and_another_takes_only_the_leaf(packed_seed: Path, tmp_path: Path) -> None:
    with_remote(packed_seed, str(tmp_path / "remote"), "push = true\n")
    first = Session.open(packed_seed, store=tmp_path / "one").build()
    first.raise_failures()
    heard: list[Event] = []
    session = Session.open(packed_seed, store=tmp_path / "two", listeners=[heard.append])
    second = session.build()
    assert not second.plan.to_build and not second.statuses
    assert [event.node for event in heard if isinstance(event, ResultMoved)] == ["pack"]
    assert not list((session.store.path / "layers").iterdir())
    assert {name: [Path(path).read_bytes() for path in paths] for name, paths in second.outputs.items()} == {
        name: [Path(path).read_bytes() for path in paths] for name, paths in first.outputs.items()
    }


@root
@pytest.mark.slow
def test_a_build_makes_what_a_remote_damaged_or_lacks(packed_seed: Path, tmp_path: Path) -> None:
    with_remote(packed_seed, str(tmp_path / "remote"), "push = true\n")
    Session.open(packed_seed, store=tmp_path / "one").build().raise_failures()
    for path in (tmp_path / "remote" / "blobs").glob("*/*"):
        path.write_bytes(b"altered")
    heard: list[Event] = []
    second = Session.open(packed_seed, store=tmp_path / "two", listeners=[heard.append]).build()
    second.raise_failures()
    assert len(second.statuses) == 2
    notices = [event.text for event in heard if isinstance(event, NodeNotice) and event.text.startswith("remote r:")]
    assert len(notices) == 2


def test_a_remote_that_does_not_answer_is_asked_once(there: Store) -> None:
    asked = 0

    def refuse(request: http.server.BaseHTTPRequestHandler) -> None:
        nonlocal asked
        asked += 1
        request.send_error(500)

    heard: list[Event] = []
    with answering(refuse) as remote:
        remotes = Remotes([remote], {"r": Remote(url="x")}, heard.append)
        for name in ("x", "y"):
            assert not remotes.pull(there, Yields.ARTIFACT, key_of(name).digest, "iso")
    assert asked == 2  # with one more attempt
    assert [type(event) for event in heard] == [NodeNotice]


def test_a_blob_in_a_folder_is_never_half_there(folder: RemoteStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with pytest.raises(OSError):
        folder.place.put(Blob("0" * 64, 3), source)
    assert folder.place.listed("blobs") == {}


# connections of SFTP


@pytest.fixture
def sftp(ssh_server: SshServer, tmp_path: Path) -> Iterator[SftpPlace]:
    with contextlib.closing(sftp_place(ssh_server.url("sftp", tmp_path / "srv"), ssh_server.config)) as place:
        yield place


def connections() -> int:
    """The number of clients of ssh that this process has started."""
    mine = Path(f"/proc/{os.getpid()}/task")
    children = {pid for task in mine.iterdir() for pid in (task / "children").read_text().split()}
    return sum(Path(f"/proc/{pid}/comm").read_text(encoding="utf-8") == "ssh\n" for pid in children)


@pytest.mark.slow
def test_threads_that_have_ended_leave_no_connection(sftp: SftpPlace) -> None:
    for number in range(4):
        thread = threading.Thread(target=sftp.write, args=(f"pins/{number}", b"x"))
        thread.start()
        thread.join()
    assert sorted(sftp.listed("pins")) == ["0", "1", "2", "3"]
    assert connections() == 1


@pytest.mark.slow
def test_after_a_failure_all_connections_are_made_again(sftp: SftpPlace) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: sftp.write(f"pins/{number}", os.urandom(1 << 20)), range(6)))
    for target in sftp._free:
        assert target._process
        target._process.end()
    with pytest.raises((OSError, StagewrightError)):
        sftp.has("pins/1")
    assert sftp.has("pins/1")


@pytest.mark.slow
def test_computers_that_send_the_same_file_at_the_same_time_do_not_mix_their_bytes(sftp: SftpPlace) -> None:
    data = os.urandom(8 << 20)
    places = [SftpPlace(sftp.host) for _ in range(3)]
    for number in range(3):
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda place, number=number: place.write(f"pins/{number}", data), places))
        assert b"".join(sftp.read(f"pins/{number}", 0, len(data) + 1)) == data
    assert not [name for name in os.listdir(f"{sftp.host.folder}/pins") if name.startswith(".")]
    for place in places:
        place.close()


# failures of libraries


class BotoError(Exception):
    """An exception that is neither OSError nor ours, as those of botocore and paramiko."""


BotoError.__module__ = "botocore.exceptions"


class Altered:
    """A service of fsspec whose library finds a wrong checksum in every answer."""

    protocol = "s3"

    def __getattr__(self, name: str) -> Any:
        def fail(*_: object, **__: object) -> None:
            raise BotoError("Expected checksum 1 did not match calculated checksum: 2")

        return fail


@pytest.mark.parametrize(
    "call",
    [
        lambda place: list(place.read("pins/1", 0, 10)),
        lambda place: place.has("pins/1"),
        lambda place: place.write("pins/1", b"x"),
        lambda place: place.listed("pins"),
        lambda place: place.remove("pins/1"),
        lambda place: place.put(Blob("0" * 64, 1), Path("/dev/null")),
    ],
)
def test_exceptions_of_libraries_are_failures_of_the_place(call: Callable[[FsspecPlace], object]) -> None:
    with pytest.raises(StagewrightError, match=r"s3://b/f \(Expected checksum 1") as failed:
        call(FsspecPlace("s3://b/f", Altered(), "b/f"))
    assert failed.value.reason is Reason.FETCH_FAILED


def test_a_refused_request_is_not_repeated() -> None:
    error = BotoError("forbidden")
    error.response = {"ResponseMetadata": {"HTTPStatusCode": 403}}  # type: ignore[attr-defined]
    calls: list[int] = []

    def refused() -> None:
        calls.append(1)
        with translated("s3://b"):
            raise error

    with pytest.raises(StagewrightError) as failed:
        Attempts("s3://b", lambda _: None, Retries((0.0, 0.0)))("push", refused)
    assert calls == [1]
    assert "keys" in failed.value.hint
