"""Git repositories for tests, with optional signatures, served by git's smart HTTP."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from integration.signing import Signer

BACKEND = "/usr/lib/git-core/git-http-backend"

EBUILD = (
    'EAPI=8\nDESCRIPTION="{name}"\nHOMEPAGE="https://example.org"\nLICENSE="0BSD"\nSLOT="0"\nKEYWORDS="{keywords}"\n'
)


def tiny(name: str = "world") -> dict[str, str]:
    """Return the files of the smallest valid ebuild repository."""
    return {
        "metadata/layout.conf": f"repo-name = {name}\nmasters =\nthin-manifests = true\n",
        "profiles/repo_name": f"{name}\n",
        "profiles/arch.list": "amd64\n",
        "profiles/categories": "app-misc\n",
        "app-misc/one/one-1.ebuild": EBUILD.format(name="one", keywords="amd64"),
    }


@dataclass
class Git:
    """A repository with a work tree. ``clock`` is the time of the last commit (seconds); each is an hour later."""

    folder: Path
    clock: int = 1_760_000_000

    @classmethod
    def make(cls, folder: Path, files: Mapping[str, str] | None = None) -> Git:
        folder.mkdir(parents=True)
        git = cls(folder)
        git("init", "--quiet", "--initial-branch=main")
        git("config", "uploadpack.allowFilter", "true")
        git.write(files if files is not None else tiny())
        git.commit("the first commit")
        return git

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def __call__(self, *words: str, **env: str) -> str:
        who = {f"GIT_{role}_{what}": "t@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        alone = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            ["git", "-C", str(self.folder), *words],
            env={**os.environ, **who, **alone, **env},
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def commit(self, subject: str, signer: Signer | None = None, *, at: int | None = None, faked: str = "") -> str:
        """Commit everything and return the id. ``faked`` is the time of the signature (ISO 8601 without separators)."""
        self.clock += 3600
        date = f"{at or self.clock} +0000"
        self("add", "--all")
        words = ["commit", "--quiet", "--allow-empty", "-m", subject]
        env = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        if signer:
            program = self.folder.parent / f"gpg-{signer.fingerprint[:8]}{faked}"
            clock = f"--faked-system-time {faked}!" if faked else ""
            program.write_text(
                f'#!/bin/sh\nexec gpg --homedir {signer.home} --batch --no-tty {clock} "$@"\n', encoding="utf-8"
            )
            program.chmod(0o755)
            self("config", "gpg.program", str(program))
            words += [f"--gpg-sign={signer.fingerprint}"]
        self(*words, **env)
        return self("rev-parse", "HEAD")

    def change(self, subject: str, signer: Signer | None = None, **more: str) -> str:
        """Add a file in a new commit and return its id."""
        self.write({f"app-misc/one/files/{self.clock}": subject})
        return self.commit(subject, signer, **more)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """A handler that passes requests to git-http-backend(1) by CGI."""

    root: Path

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        env = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        said = subprocess.run([BACKEND], env=env, input=body, capture_output=True, check=False).stdout
        head, _, content = said.partition(b"\r\n\r\n")
        lines = [line.decode().partition(": ") for line in head.split(b"\r\n")]
        code = next((value.split()[0] for name, _, value in lines if name == "Status"), "200")
        self.send_response(int(code))
        for name, _, value in lines:
            if name and name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextlib.contextmanager
def smart_http(root: Path) -> Iterator[str]:
    """Serve the repositories below a folder, and yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("GitHandler", (_Handler,), {"root": root}))
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
