"""``python -m bench.farm_s3``: a stand-in for Amazon S3 that returns altered bytes as long as a file exists.

The file has the number that random choices start from. One of three objects that are read then has one wrong byte.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

_ALTERED = 3
"""One of so many answers is altered."""


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(prog="python -m bench.farm_s3", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--alter", type=Path, required=True, metavar="FILE", help="alter as long as it exists")
    options = parser.parse_args()
    application = altering(DomainDispatcherApplication(create_backend_app), options.alter)
    run_simple("", options.port, application, threaded=True, request_handler=MotoRequestHandler)


def altering(inner: Application, flag: Path) -> Application:
    """Return an application whose answers to GET have wrong bytes as long as a file exists. Lengths stay right."""
    chosen: list[random.Random] = []

    def application(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        answer = inner(environ, start)
        if environ["REQUEST_METHOD"] != "GET" or not flag.exists():
            return answer
        data = bytearray(b"".join(answer))
        chosen[:] = chosen or [random.Random(flag.read_text(encoding="ascii"))]
        if data and chosen[0].randrange(_ALTERED) == 0:
            data[chosen[0].randrange(len(data))] ^= 1 << chosen[0].randrange(8)
        return [bytes(data)]

    return application


if __name__ == "__main__":
    main()
