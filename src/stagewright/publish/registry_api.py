"""Requests to a registry that skopeo does not have: the list of referrers, and an index that keeps its digest.

Older versions of skopeo drop the types of the entries of an index, and then refuse to copy it. The logins are those of
skopeo, in the files of containers-auth.json(5); programs for logins (``credHelpers``) are not asked. A login is sent
to the registry, and to the service for tokens that the registry names (OCI distribution specification).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stagewright.errors import Reason, StagewrightError
from stagewright.fetch.web import HEADERS, translated_errors, trusted_certificates
from stagewright.publish.oci_layout import INDEX, Descriptor
from stagewright.publish.repository import Repository, is_on_loopback, json_object

if TYPE_CHECKING:
    import httpx

_HOSTS = {"docker.io": "registry-1.docker.io"}
_LOGINS = {"docker.io": "https://index.docker.io/v1/"}
_PAGES = 50
"""The largest number of pages of a list of referrers."""


@dataclass(frozen=True)
class RegistryApi:
    """The API of the registry that has a repository."""

    repository: Repository

    def referrers(self, digest: str) -> list[Descriptor] | None:
        """Return the manifests with a subject; None if the registry does not answer this request."""
        found: list[Descriptor] = []
        path = f"referrers/{digest}"
        for _ in range(_PAGES):
            response = self._request("GET", path, {"Accept": INDEX})
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
        return self._request("PUT", f"manifests/{tag}", {"Content-Type": INDEX}, data).status_code in (200, 201)

    def _request(self, method: str, path: str, headers: Mapping[str, str], data: bytes | None = None) -> httpx.Response:
        """Send a request, once more with a token or login if the registry asks for one. Raises: FETCH_FAILED."""
        import httpx  # noqa: PLC0415  slow to import, and only registries need it

        host, _, name = self.repository.path.partition("/")
        scheme = "https" if self.repository.encrypted else "http"
        url = f"{scheme}://{_HOSTS.get(host, host)}/v2/{name}/{path}"
        context = trusted_certificates() if self.repository.encrypted else False
        with translated_errors(url), httpx.Client(verify=context, timeout=60) as client:
            response = client.request(method, url, headers={**HEADERS, **headers}, content=data)
            if response.status_code == 401:
                scope = f"repository:{name}:{'pull' if method == 'GET' else 'pull,push'}"
                key = self._authorization(client, response.headers.get("www-authenticate", ""), scope)
                if key:
                    more = {**HEADERS, **headers, "Authorization": key}
                    response = client.request(method, url, headers=more, content=data)
        if response.status_code in (429, 500, 502, 503, 504):
            what = f"{self.repository.name}: the registry does not answer (status {response.status_code})"
            raise StagewrightError(Reason.FETCH_FAILED, what)
        return response

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
