"""``stagewright web``."""

from __future__ import annotations

import click

from stagewright.cli.common import store_folder
from stagewright.errors import Reason, StagewrightError
from stagewright.ui.streams import note

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@click.command(name="web")
@click.option("--listen", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="The port.")
@click.option(
    "--host", "hosts", multiple=True, metavar="NAME", help="A name by which browsers call it. Can be repeated."
)
@click.pass_context
def command(ctx: click.Context, listen: str, port: int, hosts: tuple[str, ...]) -> None:
    """Show the builds of the store live in a browser.

    The pages only show: nothing can be changed. They have the running builds with
    their logs, and a report of each former run. /metrics is for Prometheus.

    By default only this computer can connect. With --listen others can: everyone who
    reaches the port can read all logs, so put a server with passwords and encryption in
    front. Then name the host by --host.

    \b
      stagewright web
      stagewright web --listen 10.0.0.5 --host builds.example.org
    """
    try:
        import uvicorn

        from stagewright.ui.web.app import application
    except ImportError as error:
        what = f"{error.name}: the Python package is not installed"
        raise StagewrightError(Reason.MISSING_TOOL, what, hint="pip install 'stagewright[web]'") from error
    names = ["127.0.0.1", "localhost", "[::1]", *hosts, *([] if listen in LOOPBACK else [listen])]
    app = application(store_folder(ctx), names)
    config = uvicorn.Config(app, listen, port, log_level="error", access_log=False, server_header=False)
    shown = f"[{listen}]" if ":" in listen else listen
    if listen not in LOOPBACK:
        note(f"warning: all computers that reach {shown}:{port} can read the logs of all builds")
    note(f"http://{shown}:{port}/ shows the builds; Ctrl-C ends it")
    try:
        uvicorn.Server(config).run()
    except SystemExit as error:
        hint = "use --port NUMBER"
        raise StagewrightError(Reason.HOST_FEATURE, f"cannot listen at {shown}:{port}", hint=hint) from error
