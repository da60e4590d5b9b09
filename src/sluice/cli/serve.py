"""`sluice serve`"""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any

import typer

from sluice.cli._options import (
    Data,
    Host,
    Port,
    Supervised,
    command,
    need_payment,
    need_secret_keys,
    read_settings,
    stores_first,
)
from sluice.settings import Settings

app = command("Run HTTP only.")

BACKLOG = 4096
"""Connections that may wait to be taken; the kernel caps it at net.core.somaxconn."""
CONNECTIONS_MAX = 16_384
HEADERS_SECONDS_MAX = 30
"""For the headers of a request, and for a connection that stays open to bring one: as long as
proxies keep theirs."""
HEADERS_BYTES_MAX = 64 << 10
"""Requests in hand at once in one worker. Overload is answered by `admission`, with a reason."""
DRAIN_S = 4
"""Answers under way may take this long after SIGTERM."""
FILES_WANTED = 65_536


@app.command(epilog="The stores must be there already: SLUICE_REDIS_URL, SLUICE_DATABASE_URL.")
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    data: Data = None,
    supervised: Supervised = False,
) -> None:
    """Run HTTP only."""
    settings = read_settings(data, "serve")
    need_secret_keys(settings)
    need_payment(settings)

    from sluice.embedded.probe import ANYWHERE, claim_port, url_of

    port = claim_port(host, port)
    os.environ["SLUICE_DATA_DIR"] = str(settings.data_dir)
    os.environ.setdefault("SLUICE_OWN_URL", url_of(ANYWHERE.get(host, host), port))
    raise_file_limit()
    load_code()
    stores_first(settings, supervised=supervised)
    raise typer.Exit(serve_until_stopped(settings, host, port))


def load_code() -> None:
    """Import here once what every worker that is forked needs, and keep it out of their way: the
    collector would look through all of it again and again, and unshare its memory by doing so."""
    gc.disable()
    import sluice.accounts.identities
    import sluice.web.api.app
    import sluice.wiring  # noqa: F401

    gc.freeze()
    gc.enable()


def serve_until_stopped(settings: Settings, host: str, port: int) -> int:
    """Granian with its workers, until SIGTERM or Ctrl-C; the exit code."""
    from granian.constants import HTTPModes, Interfaces, Loops
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server import Server

    from sluice.embedded.child import tie_to_parent
    from sluice.web.metrics import Board

    with suppress(OSError):  # then there are no counts, but there are sales
        Board.clear(Board.folder(settings.run_dir))
    tie = tie_to_parent(signal.SIGKILL)
    if tie is not None:
        os.register_at_fork(after_in_child=tie)  # a worker must not outlive its server
    if sys.platform == "linux":
        multiprocessing.set_start_method("fork", force=True)
    server = Server(
        "sluice.wiring:http_app",
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADERS_SECONDS_MAX * 1000, max_buffer_size=HEADERS_BYTES_MAX
        ),
        workers=settings.workers,
        backlog=BACKLOG,
        backpressure=CONNECTIONS_MAX,
        respawn_failed_workers=True,
        respawn_interval=0,
        workers_kill_timeout=DRAIN_S,
        websockets=True,
        log_level=LogLevels.warning,
        log_dictconfig=_granian_logs(),
    )
    try:
        server.serve()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    return 0


def _granian_logs() -> dict[str, Any]:
    """Let Granian's lines go the way of all others."""
    return {
        "handlers": {},
        "loggers": {
            "_granian": {"handlers": [], "propagate": True},
            "granian.access": {"handlers": [], "propagate": True},
        },
    }


def raise_file_limit() -> None:
    """Ten thousand connections are ten thousand open files; many shells allow 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
