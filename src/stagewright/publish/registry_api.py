"""Requests to a registry that skopeo does not have: the list of referrers, and an index that keeps its digest.

Older versions of skopeo drop the types of the entries of an index, and then refuse to copy it. The logins are those of
skopeo, in the files of containers-auth.json(5); programs for logins (``credHelpers``) are not asked. A login is sent
to the registry, and to the service for tokens that the registry names (OCI distribution specification).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.web import HEADERS, send_request, translated_errors, trusted_certificates
from stagewright.publish.oci_layout import INDEX, Descriptor
from stagewright.publish.repository import Repository, is_on_loopback, json_object

if TYPE_CHECKING:
    import httpx

_HOSTS = {"docker.io": "registry-1.docker.io"}
_LOGINS = {"docker.io": "https://index.docker.io/v1/"}
_PAGES = 50
"""The largest number of pages of a list of referrers."""


@dataclass(frozen=True, eq=False)
class RegistryApi:
    """The API of the registry that has a repository."""

    repository: Repository

    def referrers(self, digest: str) -> list[Descriptor] | None:
        """Return the manifests with a subject; None if the registry does not answer this request."""
        found: list[Descriptor] = []
        path = f"referrers/{digest}"
        for _ in range(_PAGES):
            response = self.request("GET", path, {"Accept": INDEX})
            if response.status_code != 200:
                return None
            listed = entries(response.content)
            if listed is None:
                return None
            found += listed
            following = re.search(r"/referrers/([^>\s]+)", response.links.get("next", {}).get("url", ""))
            if not following:
                break
            path = f"referrers/{following[1]}"
        return found

    def put_index(self, tag: str, data: bytes) -> bool:
        """Write an index under a tag. Return False if the registry does not accept it."""
        return self.request("PUT", f"manifests/{tag}", {"Content-Type": INDEX}, data).status_code in (200, 201)

    def request(self, method: str, path: str, headers: Mapping[str, str], data: bytes | None = None) -> httpx.Response:
        """Send a request, once more with a token or login if the registry asks for one. Raises: FETCH_FAILED.

        ``path`` is below the repository, or an address that the registry has named.
        """
        url, writes = self._url(path), method not in ("GET", "HEAD")
        with translated_errors(url):
            response = self._client.request(method, url, headers=self._with_login(headers, writes=writes), content=data)
            if response.status_code == 401 and self._log_in(response, writes=writes):
                response = self._client.request(
                    method, url, headers=self._with_login(headers, writes=writes), content=data
                )
        if response.status_code in (429, 500, 502, 503, 504):
            what = f"{self.repository.name}: the registry does not answer (status {response.status_code})"
            raise StagewrightError(Reason.FETCH_FAILED, what)
        return response

    @contextlib.contextmanager
    def stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Send a GET request, and yield the answer before its content is read. Redirects are followed without login."""
        url = self._url(path)
        with translated_errors(url):
            response = self._opened(url, headers)
            if response.status_code == 401 and self._log_in(response, writes=False):
                response.close()
                response = self._opened(url, headers)
            if response.has_redirect_location:
                where = str(response.url.join(response.headers["location"]))
                response.close()
                response = send_request(self._client, where, {**HEADERS, **headers})
            try:
                yield response
            finally:
                response.close()

    def _opened(self, url: str, headers: Mapping[str, str]) -> httpx.Response:
        request = self._client.build_request("GET", url, headers=self._with_login(headers, writes=False))
        return self._client.send(request, stream=True)

    def close(self) -> None:
        """End all connections."""
        if "_client" in self.__dict__:
            self._client.close()

    def _url(self, path: str) -> str:
        host, _, name = self.repository.path.partition("/")
        scheme = "https" if self.repository.encrypted else "http"
        base = f"{scheme}://{_HOSTS.get(host, host)}"
        if not path.startswith(("/", "http://", "https://")):
            return f"{base}/v2/{name}/{path}"
        url = base + path if path.startswith("/") else path
        if not url.startswith(f"{base}/"):
            what = f"{self.repository.name}: the registry names an address on another server"
            raise StagewrightError(Reason.BAD_REDIRECT, what)
        return url

    @functools.cached_property
    def _client(self) -> httpx.Client:
        import httpx  # noqa: PLC0415  slow to import, and only registries need it

        return httpx.Client(verify=trusted_certificates() if self.repository.encrypted else False, timeout=60)

    @functools.cached_property
    def _keys(self) -> dict[bool, str]:
        return {}

    def _with_login(self, headers: Mapping[str, str], *, writes: bool) -> dict[str, str]:
        key = self._keys.get(writes) or self._keys.get(True)
        return {**HEADERS, **headers, **({"Authorization": key} if key else {})}

    def _log_in(self, response: httpx.Response, *, writes: bool) -> bool:
        """Get a token or login. Return False if there is none, or if the one that was sent is refused."""
        name = self.repository.path.partition("/")[2]
        scope = f"repository:{name}:{'pull,push' if writes else 'pull'}"
        found = self._authorization(self._client, response.headers.get("www-authenticate", ""), scope)
        self._keys[writes] = found
        return bool(found)

    def _authorization(self, client: httpx.Client, challenge: str, scope: str) -> str:
        """Return the header for a challenge of the registry; "" if there is none that it accepts."""
        login = _login(self.repository.path)
        kind, _, rest = challenge.partition(" ")
        if kind.lower() == "basic":
            return f"Basic {login}" if login else ""
        values = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = values.get("realm", "")
        local = not self.repository.encrypted and is_on_loopback(realm.removeprefix("http://"))
        if kind.lower() != "bearer" or not (realm.startswith("https://") or local):
            return ""
        wanted = {"service": values.get("service", ""), "scope": scope}
        headers = {**HEADERS, **({"Authorization": f"Basic {login}"} if login else {})}
        answer = json_object(client.get(realm, params=wanted, headers=headers).content)
        token = answer.get("token") or answer.get("access_token") or ""
        return f"Bearer {token}" if token else ""


def entries(data: bytes | None) -> list[Descriptor] | None:
    """Return the entries of an index; None for anything else."""
    found = json_object(data).get("manifests")
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        return None
    return [one for one in found if isinstance(one.get("digest"), str)]


def _login(repository: str) -> str:
    """Return the login for a repository, as Basic has it (RFC 7617); "" if skopeo has none in its files."""
    home, running = Path.home(), os.environ.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}"
    usual = [Path(running, "containers/auth.json"), home / ".config/containers/auth.json", home / ".docker/config.json"]
    named = os.environ.get("REGISTRY_AUTH_FILE")
    parts = repository.split("/")
    names = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    for path in [Path(named)] if named else usual:
        try:
            logins = json.loads(path.read_text(encoding="utf-8")).get("auths") or {}
        except (OSError, ValueError, AttributeError):
            continue
        for name in [*names, _LOGINS.get(parts[0], parts[0])]:
            if found := (logins.get(name) or {}).get("auth"):
                return str(found)
    return ""
