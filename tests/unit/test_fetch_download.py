"""Downloads from a real server: atomic, resumed without repeated data, each failure with its reason."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration import web

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.download import OVERLAP, RetryPolicy, download

QUICK = RetryPolicy(stall=0.4, attempts=2, pause=0.01)
DATA = random.Random(7).randbytes(900_000)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[web.Site]:
    with web.serve(tmp_path / "www") as site:
        site.put("file.bin", DATA)
        yield site


def right(path: Path) -> None:
    if path.read_bytes() != DATA:
        raise StagewrightError(Reason.DIGEST_MISMATCH, "not the right one")


def fetch(site: web.Site, target: Path, *, path: str = "file.bin", **more: object) -> Path:
    return download([f"{site.url}/{path}"], target, retries=QUICK, **more)  # type: ignore[arg-type]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_downloaded_once(site: web.Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    target = tmp_path / "to" / "file"
    fetch(site, target, verify=right, progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == DATA
    assert left(target.parent) == ["file"]
    assert seen[-1] == (len(DATA), len(DATA))
    fetch(site, target, verify=right)
    assert site.sent["/file.bin"] == len(DATA)  # no second download


def test_a_wrong_existing_file_is_downloaded_again(site: web.Site, tmp_path: Path) -> None:
    target = tmp_path / "to" / "file"
    target.parent.mkdir()
    target.write_bytes(b"wrong")
    fetch(site, target, verify=right)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("how", ["cut", "reset"])
def test_a_download_is_resumed_at_random_points(site: web.Site, tmp_path: Path, how: str) -> None:
    points = [random.Random(number).randrange(1, len(DATA)) for number in range(12)]
    for number, point in enumerate(points):
        site.sent.clear()
        site.hooks["/file.bin"] = web.cut_after(point, how=how)
        target = tmp_path / "to" / f"file{number}"
        fetch(site, target, verify=right)
        again = site.sent["/file.bin"] - len(DATA)
        assert again == 0 if how == "cut" else 0 <= again <= point  # a reset may drop data in transit


def test_a_later_call_resumes_a_download(site: web.Site, tmp_path: Path) -> None:
    target = tmp_path / "to" / "file"
    site.hooks["/file.bin"] = web.cut_after(100_000, times=5)
    for _ in range(2):
        with pytest.raises(StagewrightError) as caught:
            download([f"{site.url}/file.bin"], target, verify=right, retries=RetryPolicy(1, 1, 0))
        assert caught.value.reason is Reason.FETCH_CUT
    assert left(target.parent) == ["file.part", "file.part.json"]
    fetch(site, target, verify=right)
    assert site.sent["/file.bin"] == len(DATA)


def test_a_download_is_resumed_from_another_mirror(site: web.Site, tmp_path: Path) -> None:
    site.put("mirror.bin", DATA)
    site.hooks["/file.bin"] = web.cut_after(500_000, times=9)
    target = tmp_path / "to" / "file"
    urls = [f"{site.url}/file.bin", f"{site.url}/mirror.bin"]
    download(urls, target, verify=right, retries=RetryPolicy(1, 1, 0))
    assert site.sent["/mirror.bin"] == len(DATA) - 500_000 + OVERLAP


def test_a_partial_file_of_another_file_is_detected(site: web.Site, tmp_path: Path) -> None:
    site.put("bad.bin", DATA[:400_000] + bytes(len(DATA) - 400_000))
    site.hooks["/bad.bin"] = web.cut_after(500_000, times=9)
    target = tmp_path / "to" / "file"
    download([f"{site.url}/bad.bin", f"{site.url}/file.bin"], target, verify=right, retries=RetryPolicy(1, 2, 0))
    assert target.read_bytes() == DATA


def test_a_corrupt_partial_file_causes_one_more_download(site: web.Site, tmp_path: Path) -> None:
    """The compared end matches, so only the digest shows the error."""
    site.put("bad.bin", b"x" * 1000 + DATA[1000:])
    site.hooks["/bad.bin"] = web.cut_after(500_000, times=9)
    target = tmp_path / "to" / "file"
    download([f"{site.url}/bad.bin", f"{site.url}/file.bin"], target, verify=right, retries=RetryPolicy(1, 1, 0))
    assert target.read_bytes() == DATA


def test_a_file_that_has_changed_since_is_downloaded_whole(site: web.Site, tmp_path: Path) -> None:
    target = tmp_path / "to" / "file"
    site.hooks["/file.bin"] = web.cut_after(300_000)
    with pytest.raises(StagewrightError):
        download([f"{site.url}/file.bin"], target, retries=RetryPolicy(1, 1, 0))
    site.put("file.bin", DATA[::-1])
    fetch(site, target)
    assert target.read_bytes() == DATA[::-1]


def test_a_complete_partial_file_is_not_downloaded_again(site: web.Site, tmp_path: Path) -> None:
    target = tmp_path / "to" / "file"
    site.hooks["/file.bin"] = web.cut_after(300_000)
    with pytest.raises(StagewrightError):
        download([f"{site.url}/file.bin"], target, retries=RetryPolicy(1, 1, 0))
    (tmp_path / "to" / "file.part").write_bytes(DATA)
    site.sent.clear()
    fetch(site, target, verify=right)
    assert site.sent["/file.bin"] == 0


def test_a_server_without_ranges_sends_the_whole_file(site: web.Site, tmp_path: Path) -> None:
    first = [True]

    def hook(handler: web.Handler, content: bytes) -> None:
        if first.pop() if first else False:
            handler.head(200, len(content))
            handler.send(content[:1000])
            handler.cut()
        else:
            handler.serve(content, ranges=False, validator=False)

    site.hooks["/file.bin"] = hook
    fetch(site, tmp_path / "to" / "file", verify=right)


PAGE = b"<!DOCTYPE html>\n<html><body>Log in to this network</body></html>"

BAD: dict[str, tuple[Callable[[], web.Hook], Reason]] = {
    "not found": (lambda: web.status(404), Reason.NOT_FOUND),
    "gone": (lambda: web.status(410), Reason.NOT_FOUND),
    "forbidden": (lambda: web.status(403), Reason.FETCH_FAILED),
    "broken": (lambda: web.status(500), Reason.FETCH_FAILED),
    "page": (lambda: web.body(PAGE, **{"Content-Type": "text/html"}), Reason.NOT_A_FILE),
    "page in disguise": (lambda: web.body(b"<!-- x -->\n" + PAGE), Reason.NOT_A_FILE),
    "empty": (lambda: web.body(b""), Reason.FETCH_CUT),
    "cut at once": (lambda: web.cut_after(0, times=9), Reason.FETCH_CUT),
    "too long": (lambda: web.length(len(DATA) * 2), Reason.WRONG_LENGTH),
    "too short": (lambda: web.length(1000), Reason.WRONG_LENGTH),
    "endless": (lambda: web.length(None), Reason.DIGEST_MISMATCH),
    "reset at once": (lambda: lambda handler, content: handler.reset(), Reason.FETCH_CUT),
    "silent": (lambda: web.stall(0), Reason.FETCH_STALLED),
    "stalls": (lambda: web.stall(5000), Reason.FETCH_STALLED),
    "to a file": (lambda: web.redirect("file:///etc/passwd"), Reason.BAD_REDIRECT),
    "to ftp": (lambda: web.redirect("ftp://127.0.0.1/x", 307), Reason.BAD_REDIRECT),
    "in circles": (lambda: web.redirect("/file.bin"), Reason.BAD_REDIRECT),
    "to nowhere": (lambda: web.redirect("http://127.0.0.1:1/x"), Reason.FETCH_FAILED),
    "changed": (lambda: web.body(DATA[:-1] + b"!"), Reason.DIGEST_MISMATCH),
}


@pytest.mark.parametrize("case", BAD)
def test_a_failure_has_its_reason_and_leaves_no_file(site: web.Site, tmp_path: Path, case: str) -> None:
    make, reason = BAD[case]
    site.hooks["/file.bin"] = make()
    size = None if case in ("endless", "page in disguise") else len(DATA)
    if case == "endless":
        site.put("file.bin", DATA + b"more")
    target = tmp_path / "to" / "file"
    with pytest.raises(StagewrightError) as caught:
        fetch(site, target, verify=right, size=size)
    assert caught.value.reason is reason, caught.value
    assert not target.exists()
    resumable = {Reason.FETCH_CUT, Reason.FETCH_STALLED}
    assert reason in resumable or left(target.parent) == []


def test_a_file_above_the_limit_is_rejected(site: web.Site, tmp_path: Path) -> None:
    for hook in (None, web.length(None)):
        site.hooks = {"/file.bin": hook} if hook else {}
        with pytest.raises(StagewrightError) as caught:
            fetch(site, tmp_path / "to" / "file", limit=10_000)
        assert caught.value.reason is Reason.WRONG_LENGTH
        assert left(tmp_path / "to") == []


def test_the_next_mirror_is_tried(site: web.Site, tmp_path: Path) -> None:
    site.put("good.bin", DATA)
    site.hooks["/file.bin"] = web.body(b"something else")
    urls = ["http://127.0.0.1:1/x", f"{site.url}/none", f"{site.url}/file.bin", f"{site.url}/good.bin"]
    download(urls, tmp_path / "to" / "file", verify=right, retries=QUICK)
    with pytest.raises(StagewrightError) as caught:
        download(urls[:3], tmp_path / "to" / "other", verify=right, retries=QUICK)
    assert caught.value.reason is Reason.FETCH_FAILED
    for reason in (Reason.FETCH_FAILED, Reason.NOT_FOUND, Reason.DIGEST_MISMATCH):
        assert f": {reason}: " in caught.value.detail


def test_messages_do_not_contain_passwords(site: web.Site, tmp_path: Path) -> None:
    url = site.url.replace("//", "//me:secret@")
    with pytest.raises(StagewrightError) as caught:
        download([f"{url}/none", f"{url}/nothing"], tmp_path / "x", retries=QUICK)
    assert "secret" not in str(caught.value)


def test_one_of_two_threads_downloads_a_file(site: web.Site, tmp_path: Path) -> None:
    target, problems = tmp_path / "to" / "file", []

    def one() -> None:
        try:
            fetch(site, target, verify=right)
        except StagewrightError as error:
            problems.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert site.sent["/file.bin"] == len(DATA)
    assert left(target.parent) == ["file"]


def test_a_killed_download_is_resumed(site: web.Site, tmp_path: Path) -> None:
    target = tmp_path / "to" / "file"

    def slowly(handler: web.Handler, content: bytes) -> None:
        handler.head(200, len(content), ETag=f'"{hashlib.sha256(content).hexdigest()[:16]}"')
        handler.send(content[:400_000])
        handler.wfile.flush()
        time.sleep(60)

    site.hooks["/file.bin"] = slowly
    code = (
        "from pathlib import Path; from stagewright.fetch.download import download; "
        f"download(['{site.url}/file.bin'], Path('{target}'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    part = tmp_path / "to" / "file.part"
    while not part.exists() or part.stat().st_size < 200_000:
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = part.stat().st_size
    del site.hooks["/file.bin"]
    site.sent.clear()
    fetch(site, target, verify=right)
    assert site.sent["/file.bin"] == len(DATA) - there
