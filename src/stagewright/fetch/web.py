"""Details of HTTP: redirects, headers, HTML pages in place of files, and errors with reasons."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stagewright import __version__
from stagewright.errors import Reason, StagewrightError
from stagewright.untrusted import number

if TYPE_CHECKING:
    import ssl

    import httpx

REDIRECTS = 8
"""The largest number of redirects of one request."""

HEADERS = {"User-Agent": f"stagewright/{__version__}", "Accept-Encoding": "identity", "Accept": "*/*"}


def without_password(url: str) -> str:
    """Return an address without a password, for messages and logs."""
    return re.sub(r"//[^/@]*@", "//", url)


@functools.cache
def trusted_certificates() -> ssl.SSLContext:
    """Return the certificates that servers are checked with. To read them takes longer than a small download."""
    import httpx  # noqa: PLC0415  slow to import, and only downloads need it

    return httpx.create_ssl_context()


def send_request(client: httpx.Client, url: str, headers: dict[str, str]) -> httpx.Response:
    """Send a GET request and follow redirects to HTTP(S) addresses. Raises ``BAD_REDIRECT`` for others."""
    import httpx  # noqa: PLC0415  slow to import, and only downloads need it

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
                f"{without_password(url)}: redirect to an address that is not HTTP ({without_password(str(target))})",
            )
        where = target
    raise StagewrightError(Reason.BAD_REDIRECT, f"{without_password(url)}: more than {REDIRECTS} redirects")


@contextlib.contextmanager
def translated_errors(url: str) -> Iterator[None]:
    """Translate exceptions of the HTTP library to errors with a reason."""
    import httpx  # noqa: PLC0415  slow to import, and only downloads need it

    try:
        yield
    except httpx.TimeoutException as error:
        raise stall_error(url, type(error).__name__) from error
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:
        raise StagewrightError(
            Reason.FETCH_CUT,
            f"{without_password(url)}: connection closed before the end of the file",
            detail=str(error),
        ) from (error)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise StagewrightError(
            Reason.FETCH_FAILED, f"{without_password(url)}: {error or type(error).__name__}"
        ) from error


def page_error(url: str) -> StagewrightError:
    """Return the error for an HTML page in place of a file."""
    return StagewrightError(Reason.NOT_A_FILE, f"{without_password(url)}: the server sent an HTML page, not a file")


def stall_error(url: str, how: str) -> StagewrightError:
    """Return the error for a server that sends no more data."""
    return StagewrightError(Reason.FETCH_STALLED, f"{without_password(url)}: download stalled ({how})")


def has_length(response: httpx.Response) -> bool:
    """True if a response has a valid Content-Length."""
    return number(response.headers.get("content-length", "")) is not None


def total_in(response: httpx.Response) -> int:
    """Return the size of the whole file (bytes) from the headers of a partial response; 0 if unknown."""
    found = re.search(r"/(\d+)$", response.headers.get("content-range", ""))
    return number(found[1]) or 0 if found else 0


def is_page(chunk: bytes) -> bool:
    """True if data starts like an HTML page."""
    return bool(re.match(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html)[\s>]", chunk[:1024], re.IGNORECASE | re.DOTALL))
