"""What the commands share: options, settings, and how long work is shown."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from sluice import telemetry
from sluice.domain.errors import SettingsError
from sluice.settings import Settings

T = TypeVar("T")

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        readable=False,  # what is wrong with it is said in our own words
        help="Folder for everything that is written.  [default: SLUICE_DATA_DIR, or ./data]",
        show_default=False,
    ),
]
Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")]
Port = Annotated[
    int, typer.Option("--port", metavar="PORT", help="Port to listen on; 0 takes a free one.")
]
Supervised = Annotated[bool, typer.Option("--supervised", hidden=True)]
"""Started by `sluice up`, which starts the stores at the same time and looks after them."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def command(help_text: str) -> typer.Typer:
    """The Typer of a module with one command (or a group of them)."""
    return typer.Typer(
        help=help_text,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def read_settings(data: Path | None, process: str) -> Settings:
    """The settings, with logging set up for this process. Raises `SettingsError`."""
    settings = Settings.read(data_dir=data)
    telemetry.configure(process, settings.log_level)
    return settings


def need_secret_keys(settings: Settings) -> None:
    if not settings.secret_keys:
        raise SettingsError(
            "There are no secret keys: set SLUICE_SECRET_KEYS, or name with --data a folder on "
            "which `sluice up` ran."
        )


def need_payment(settings: Settings) -> None:
    """Raises `SettingsError` where nobody could pay, or no provider be believed."""
    from sluice.payment.setup import check

    check(settings)


def need_ledger(settings: Settings) -> None:
    """Raises `SettingsError` where the embedded ledger is meant and there is none."""
    if not settings.database_url and not (settings.data_dir / "sluice.db").exists():
        raise SettingsError(
            f"There is no ledger in {settings.data_dir}: name with --data a folder on which "
            "`sluice up` ran, or set SLUICE_DATABASE_URL."
        )


def stores_first(settings: Settings, *, supervised: bool) -> None:
    """Return when the stores are there. Raises `SettingsError` or `Unavailable`."""
    if supervised:
        from sluice.embedded.store import wait_for_ours

        wait_for_ours(settings)
    else:
        from sluice.cli._stores import check_stores

        run(check_stores(settings))


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Columns for people; plain enough for `cut` and `grep`."""
    widths = [max(len(line[i]) for line in (headings, *rows)) for i in range(len(headings))]
    for line in (headings, *rows):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on a terminal's stderr while something takes its time."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield
