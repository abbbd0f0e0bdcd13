"""Targets on servers that are reached by ssh: SFTP, and rsync.

The program ssh connects, so configuration, keys, agent and known hosts are those of the user. It never asks for
anything (BatchMode): an unknown host or a missing key is an error.
"""

from __future__ import annotations

import contextlib
import posixpath
import select
import shlex
import socket
import stat
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from stagewright.errors import Reason, StagewrightError
from stagewright.publish.folder import CHUNK, read_digests
from stagewright.publish.target import TargetOptions, missing_package, not_found
from stagewright.run import Process, network, run, spawn
from stagewright.temporary import temporary_folder

_LISTING = "find . -type f -printf '%s %P\\n'"


@dataclass(frozen=True)
class SshHost:
    """A server and a folder on it, from an address such as ``sftp://user@host:22/srv/www``."""

    scheme: str
    host: str
    folder: str
    user: str = ""
    port: int | None = None
    config: Path | None = None

    @classmethod
    def of(cls, url: str, options: TargetOptions) -> SshHost:
        """Return the server of an address. Raises: USAGE for an invalid one; ``/~/`` is the home of the user."""
        with contextlib.suppress(ValueError):
            parts = urlsplit(url)
            folder = unquote(parts.path).removeprefix("/~/")
            host = parts.hostname or ""
            if host and not host.startswith("-") and folder.strip("/") and not parts.password:
                return cls(parts.scheme, host, folder, unquote(parts.username or ""), parts.port, options.ssh_config)
        hint = "write SCHEME://USER@HOST:PORT/FOLDER, without a password; ssh uses your keys"
        raise StagewrightError(Reason.USAGE, f"{url.partition('@')[2] or url}: not an address of a server", hint=hint)

    @property
    def name(self) -> str:
        """The address for messages."""
        return f"{self.scheme}://{self.host}/{self.folder.lstrip('/')}"

    @property
    def program(self) -> list[str]:
        """The first words of a command of ssh, without the host."""
        words = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=30"]
        words += ["-F", str(self.config)] if self.config else []
        words += ["-p", str(self.port)] if self.port else []
        return words + (["-l", self.user] if self.user else [])


class _Channel(socket.socket):
    """The socket of a running ssh, with the methods of paramiko's channels that its SFTP client calls."""

    def get_name(self) -> str:
        """Return a name for log messages."""
        return "ssh"

    def recv_ready(self) -> bool:
        """Return True if there is data to read. Paramiko calls it after 100 blocks of a file."""
        waiting = select.poll()
        waiting.register(self, select.POLLIN)
        return bool(waiting.poll(0))


@dataclass
class SftpTarget:
    """A folder on a server that speaks SFTP; no other right on the server is needed."""

    host: SshHost
    renames: bool = True
    batch: int = 1
    _client: Any = field(default=None, repr=False)
    _process: Process | None = field(default=None, repr=False)
    _errors: IO[bytes] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The address of the folder."""
        return self.host.name

    @property
    def sftp(self) -> Any:
        """The connection, which is made on first use. Raises: FETCH_FAILED if that fails."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _connect(self) -> Any:
        try:
            import paramiko  # noqa: PLC0415  optional
        except ImportError as error:
            raise missing_package("paramiko") from error
        ours, theirs = socket.socketpair()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        with theirs:
            words = [*self.host.program, "-s", "--", self.host.host, "sftp"]
            end = theirs.fileno()
            self._process = spawn(words, env=network(), stdin=end, stdout=end, stderr=self._errors)
        channel = _Channel(fileno=ours.detach())
        try:
            return paramiko.SFTPClient(channel)
        except (OSError, EOFError, paramiko.SSHException) as error:
            channel.close()
            self._process.end()
            self._errors.seek(0)
            said = self._errors.read().decode("utf-8", errors="replace").strip()
            what = f"{self.name}: ssh cannot connect"
            raise StagewrightError(Reason.FETCH_FAILED, what, detail=said, hint="try it: sftp HOST") from error

    def _path(self, path: str) -> str:
        return posixpath.join(self.host.folder, path) if path else self.host.folder

    def entries(self) -> list[str]:
        """Return the names in the folder; none if it does not exist."""
        try:
            return sorted(self.sftp.listdir(self._path("")))
        except FileNotFoundError:
            return []

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Return the sizes of all files below a folder in bytes, by path."""
        found, waiting = {}, [""]
        while waiting:
            inner = waiting.pop()
            with contextlib.suppress(FileNotFoundError):
                for entry in self.sftp.listdir_attr(self._path(posixpath.join(folder, inner))):
                    path = posixpath.join(inner, entry.filename)
                    if stat.S_ISDIR(entry.st_mode):
                        waiting.append(path)
                    else:
                        found[path] = entry.st_size
        return found

    def read(self, path: str) -> Generator[bytes, None, None]:
        """Yield the content of a file."""
        try:
            with self.sftp.open(self._path(path), "rb") as stream:
                stream.prefetch(stream.stat().st_size)
                while chunk := stream.read(CHUNK):
                    yield chunk
        except FileNotFoundError as error:
            raise not_found(path, self.name) from error

    def put(self, folder: str, source: Path, names: Sequence[str]) -> None:
        """Upload files under hidden names, and rename each. An upload that was cut goes on."""
        for name in names:
            self._upload(source / name, self._path(posixpath.join(folder, name)))

    def _upload(self, source: Path, target: str) -> None:
        folder, name = posixpath.split(target)
        part = posixpath.join(folder, f".{name}.part")
        self.make_folders(folder)
        try:
            done = self.sftp.stat(part).st_size
        except FileNotFoundError:
            done = 0
        size = source.stat().st_size
        start = done if 0 < done <= size else 0
        with source.open("rb") as stream, self.sftp.open(part, "ab" if start else "wb") as upload:
            upload.set_pipelined(True)
            stream.seek(start)
            while chunk := stream.read(1 << 15):
                upload.write(chunk)
        self.sftp.posix_rename(part, target)

    def write(self, path: str, data: bytes) -> None:
        """Write a file under a hidden name, and rename it."""
        target = self._path(path)
        folder, name = posixpath.split(target)
        self.make_folders(folder)
        part = posixpath.join(folder, f".{name}.part")
        with self.sftp.open(part, "wb") as upload:
            upload.write(data)
        self.sftp.posix_rename(part, target)

    def rename(self, old: str, new: str) -> None:
        """Rename a folder."""
        self.sftp.rename(self._path(old), self._path(new))

    def link(self, path: str, target: str) -> bool:
        """Make or replace a symbolic link."""
        part = self._path(f".{path}.part")
        with contextlib.suppress(OSError):
            self.sftp.remove(part)
        self.sftp.symlink(target, part)
        self.sftp.posix_rename(part, self._path(path))
        return True

    def remove(self, path: str) -> None:
        """Remove a file or a folder."""
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(self.sftp.lstat(self._path(path)).st_mode):
                self.sftp.remove(self._path(path))
                return
            for entry in self.sftp.listdir(self._path(path)):
                self.remove(posixpath.join(path, entry))
            self.sftp.rmdir(self._path(path))

    def digests(self, folder: str, names: Sequence[str]) -> Mapping[str, str]:
        """Return the SHA256 of files, which are read back."""
        return read_digests(self, folder, names)

    def make_folders(self, folder: str) -> None:
        """Make a folder and those above it."""
        missing = []
        while folder not in ("", "/"):
            try:
                self.sftp.stat(folder)
                break
            except FileNotFoundError:
                missing.append(folder)
                folder = posixpath.dirname(folder)
        for one in reversed(missing):
            try:
                self.sftp.mkdir(one)
            except OSError:  # SFTP has no word for a folder that another connection has made meanwhile
                if not stat.S_ISDIR(self.sftp.stat(one).st_mode):
                    raise

    def reopen(self) -> None:
        """End the connection; the next operation makes a new one."""
        self.close()

    def close(self) -> None:
        """End the connection."""
        client, process, errors = self._client, self._process, self._errors
        self._client = self._process = self._errors = None
        if client is not None:
            with contextlib.suppress(Exception):
                client.close()
        if process:
            process.end()
        if errors:
            errors.close()


@dataclass
class RsyncTarget:
    """A folder on a server with a shell, rsync and the GNU coreutils. Only changed parts of files are sent."""

    host: SshHost
    renames: bool = True
    batch: int = 1000
    _held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)
    _ssh: list[str] = field(default_factory=list, repr=False)

    @property
    def name(self) -> str:
        """The address of the folder."""
        return self.host.name

    @property
    def ssh(self) -> list[str]:
        """The first words of a command of ssh that uses one connection for all commands, made on first use."""
        if not self._ssh:
            folder = self._held.enter_context(temporary_folder("ssh"))
            control = folder / "control"
            words = [*self.host.program, "-M", "-N", "-S", str(control), "--", self.host.host]
            log = self._held.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  closed by close()
            process = self._held.enter_context(spawn(words, env=network(), stderr=log))
            while not control.exists():
                if process.poll() is not None:
                    log.seek(0)
                    said = log.read().decode("utf-8", errors="replace").strip()
                    self.close()
                    what = f"{self.name}: ssh cannot connect"
                    raise StagewrightError(Reason.FETCH_FAILED, what, detail=said, hint="try it: ssh HOST")
                time.sleep(0.02)
            self._ssh = [*self.host.program, "-S", str(control)]
        return self._ssh

    def _shell(self, script: str, *, check: bool = True, stdin: bytes | None = None) -> tuple[int, str]:
        """Run a script in the folder on the server. Raises: FETCH_FAILED if it fails."""
        folder = shlex.quote(self.host.folder)
        line = f"mkdir -p -- {folder} && cd -- {folder} && {{ {script}; }}"
        words = [*self.ssh, "--", self.host.host, line]
        result = run(words, env=network(), stdin=stdin, check=False)
        if result.code and (check or result.code == 255):
            what = f"{self.name}: a command on the server failed"
            raise StagewrightError(Reason.FETCH_FAILED, what, detail=result.stderr.strip(), hint="try it: ssh HOST")
        return result.code, result.stdout

    def entries(self) -> list[str]:
        """Return the names in the folder."""
        return sorted(self._shell("ls -A")[1].splitlines())

    def sizes(self, folder: str) -> Mapping[str, int]:
        """Return the sizes of all files below a folder in bytes, by path."""
        _, said = self._shell(f"cd -- {shlex.quote(folder)} && {_LISTING}", check=False)
        lines = (line.partition(" ") for line in said.splitlines())
        return {path: int(size) for size, _, path in lines if size.isdigit()}

    def read(self, path: str) -> Generator[bytes, None, None]:
        """Yield the content of a small file."""
        code, said = self._shell(f"cat -- {shlex.quote(path)}", check=False)
        if code:
            raise not_found(path, self.name)
        yield said.encode()

    def put(self, folder: str, source: Path, names: Sequence[str]) -> None:
        """Send files by rsync, which uploads to hidden names, keeps a part that was cut, and renames each."""
        self._shell(f"mkdir -p -- {shlex.quote(folder or '.')}")
        words = ["rsync", "--times", "--chmod=F644,D755", "--partial-dir=.part", "--secluded-args", "--timeout=120"]
        words += ["--files-from=-", "--from0", "-e", shlex.join(self.ssh)]
        place = f"{self.host.host}:{posixpath.join(self.host.folder, folder)}/"
        listed = "".join(f"{name}\0" for name in names).encode()
        result = run([*words, "--", f"{source}/", place], env=network(), stdin=listed, check=False)
        if result.code:
            what = f"{self.name}: rsync could not send {', '.join(names[:3])}"
            raise StagewrightError(Reason.FETCH_FAILED, what, detail=result.stderr.strip())

    def write(self, path: str, data: bytes) -> None:
        """Write a file under a hidden name, and rename it."""
        folder, name = posixpath.split(path)
        part, target = (shlex.quote(posixpath.join(folder, one)) for one in (f".{name}.part", name))
        make = f"mkdir -p -- {shlex.quote(folder or '.')}"
        self._shell(f"{make} && cat > {part} && mv -fT -- {part} {target}", stdin=data)

    def rename(self, old: str, new: str) -> None:
        """Rename a folder."""
        self._shell(f"test ! -e {shlex.quote(new)} && mv -T -- {shlex.quote(old)} {shlex.quote(new)}")

    def link(self, path: str, target: str) -> bool:
        """Make or replace a symbolic link."""
        part = shlex.quote(f".{path}.part")
        self._shell(f"ln -sfn -- {shlex.quote(target)} {part} && mv -fT -- {part} {shlex.quote(path)}")
        return True

    def remove(self, path: str) -> None:
        """Remove a file or a folder."""
        self._shell(f"rm -rf -- {shlex.quote(path)}")

    def digests(self, folder: str, names: Sequence[str]) -> Mapping[str, str]:
        """Return the SHA256 of files, which the server reads back."""
        listed = "".join(f"{name}\0" for name in names).encode()
        script = f"cd -- {shlex.quote(folder or '.')} && xargs -0r sha256sum --zero -- 2> /dev/null"
        _, said = self._shell(script, check=False, stdin=listed)
        lines = (line.partition("  ") for line in said.split("\0"))
        return {name: total for total, _, name in lines if name}

    def reopen(self) -> None:
        """End the connection; the next operation makes a new one."""
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._ssh = []
        self._held.close()
