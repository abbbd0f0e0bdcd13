"""What there is to HTTP besides files: redirects, what servers claim, pages for people, errors by their reason."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import httpx

from stagewright import __version__
from stagewright.errors import Reason, StagewrightError

REDIRECTS = 8
"""How often a server may send us elsewhere."""

HEADERS = {"User-Agent": f"stagewright/{__version__}", "Accept-Encoding": "identity", "Accept": "*/*"}


def without_password(url: str) -> str:
    """An address as people may see it: without the password that may be in it."""
    return re.sub(r"//[^/@]*@", "//", url)


def send_request(client: httpx.Client, url: str, headers: dict[str, str]) -> httpx.Response:
    """Ask, and follow a server that sends us elsewhere, but only over HTTP(S)."""
    where = httpx.URL(url)
    for _ in range(REDIRECTS):
        response = client.send(client.build_request("GET", where, headers=headers), stream=True)
        if not response.has_redirect_location:
            return response
        response.close()
        target = where.join(response.headers["location"])
        if target.scheme not in ("http", "https"):
            raise StagewrightError(
                Reason.BAD_REDIRECT,
                f"{without_password(url)}: the server sends us to {without_password(str(target))}, which is not HTTP",
            )
        where = target
    raise StagewrightError(Reason.BAD_REDIRECT, f"{without_password(url)}: sent elsewhere more than {REDIRECTS} times")


@contextlib.contextmanager
def translated_errors(url: str) -> Iterator[None]:
    """What the library raises, as the reason that it is."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise stall_error(url, type(error).__name__) from error
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:
        raise StagewrightError(
            Reason.FETCH_CUT, f"{without_password(url)}: the connection ended early", detail=str(error)
        ) from (error)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise StagewrightError(
            Reason.FETCH_FAILED, f"{without_password(url)}: {error or type(error).__name__}"
        ) from error


def page_error(url: str) -> StagewrightError:
    """The error for a page where a file was asked for."""
    return StagewrightError(Reason.NOT_A_FILE, f"{without_password(url)}: a page for people came, not a file")


def stall_error(url: str, how: str) -> StagewrightError:
    """The error for a server that has fallen silent."""
    return StagewrightError(Reason.FETCH_STALLED, f"{without_password(url)}: the server does not go on ({how})")


def has_length(response: httpx.Response) -> bool:
    """Whether an answer says how long it is."""
    return bool(re.fullmatch(r"\d+", response.headers.get("content-length", ""), re.ASCII))


def total_in(response: httpx.Response) -> int:
    """The size of the whole file that an answer in part is from; 0 if it does not say."""
    found = re.search(r"/(\d+)$", response.headers.get("content-range", ""))
    return int(found[1]) if found else 0


def is_page(chunk: bytes) -> bool:
    """Whether a file begins as HTML does."""
    return bool(re.match(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html)[\s>]", chunk[:1024], re.IGNORECASE | re.DOTALL))
