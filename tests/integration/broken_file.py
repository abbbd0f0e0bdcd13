"""A file on a broken disk: ``python broken_file.py FILE COMMAND...`` runs a command that cannot read FILE.

The file keeps its mode, size and times, but every read of it fails with EIO. It is the root of a FUSE file system
(linux/fuse.h), which this program mounts on it and serves as long as the command runs. The caller
runs it in a separate mount namespace (unshare(1)).
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import threading

LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT = 1, 2, 3, 14, 15, 18, 25, 26
_HEADER = struct.Struct("<IIQQIIII")  # length, opcode, id, node, uid, gid, pid, padding


def attributes(info: os.stat_result) -> bytes:
    """Return struct fuse_attr_out."""
    attr = struct.pack("<6Q", 1, info.st_size, info.st_blocks, *(int(info.st_mtime),) * 3)
    attr += struct.pack("<3I", *(info.st_mtime_ns % 10**9,) * 3)
    attr += struct.pack("<7I", info.st_mode, 1, info.st_uid, info.st_gid, 0, 4096, 0)
    return struct.pack("<QII", 3600, 0, 0) + attr


def serve(channel: int, info: os.stat_result) -> None:
    """Answer the requests of the kernel until the file system is gone."""
    while True:
        try:
            request = os.read(channel, 1 << 18)
        except OSError:
            return
        _, code, number, *_ = _HEADER.unpack_from(request)
        if code == FORGET:
            continue
        error, body = 0, b""
        if code == INIT:
            body = struct.pack("<4IHHI", 7, 12, 0, 0, 0, 0, 4096)
        elif code == GETATTR:
            body = attributes(info)
        elif code == OPEN:
            body = struct.pack("<QII", 0, 0, 0)
        elif code == READ:
            error = -errno.EIO
        elif code not in (RELEASE, FLUSH):
            error = -errno.ENOSYS
        os.write(channel, struct.pack("<IiQ", 16 + len(body), error, number) + body)


def main(path: str, *command: str) -> int:
    """Run a command while a file cannot be read. Return its exit code."""
    info = os.stat(path)
    channel = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={channel},rootmode={info.st_mode:o},user_id=0,group_id=0,allow_other"
    subprocess.run(["mount", "-i", "-t", "fuse", "-o", options, "broken", path], pass_fds=[channel], check=True)
    threading.Thread(target=serve, args=(channel, info), daemon=True).start()
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
