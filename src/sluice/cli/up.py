"""`sluice up`"""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from sluice.cli._options import Data, Host, Port, command, read_settings

app = command("Run everything on this machine: stores, HTTP and workers.")


@app.command(
    epilog="Prints `ready http://HOST:PORT` when it can sell, and the admin's token on the first "
    "start. Ctrl-C or SIGTERM stops it in order; nothing that was accepted is lost."
)
def up(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    data: Data = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            max=64,
            help="HTTP worker processes.  [default: SLUICE_WORKERS, or 1]",
            show_default=False,
        ),
    ] = None,
    demo: Annotated[
        bool | None,
        typer.Option(
            "--demo/--no-demo",
            help="Open a sample sale.  [default: in an empty folder]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run everything on this machine: stores, HTTP and workers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
    settings = read_settings(data, "up")

    from sluice.embedded.up import Plan, up

    environ = {**os.environ, "SLUICE_DATA_DIR": str(settings.data_dir)}
    if workers is not None:
        environ["SLUICE_WORKERS"] = str(workers)
    plan = Plan(
        settings=settings,
        host=host,
        port=port,
        demo=demo,
        program=(sys.executable, "-P", "-m", "sluice.cli.main"),
        environ=environ,
    )
    raise typer.Exit(up(plan))
