"""`sluice`: finds the command, and turns what went wrong into one sentence and an exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from sluice import __version__
from sluice.domain.errors import (
    Conflict,
    IdempotencyMismatch,
    Invalid,
    InvalidFields,
    NotFound,
    SettingsError,
    Unavailable,
)

CHECK_FAILED = 1
USAGE = 2
STORE_UNAVAILABLE = 3
INTERRUPTED = 130

COMMANDS = {
    "up": "Run everything on this machine: stores, HTTP and workers.",
    "serve": "Run HTTP only.",
    "work": "Run the recorder, releaser, auditor and pacer only.",
    "migrate": "Bring the ledger's schema up to date.",
    "sale": "Create, show, publish, pause, resume and close sales.",
    "user": "List accounts, and give or take roles.",
    "audit": "Check every invariant, and repair what can be repaired.",
    "bench": "Measure this machine.",
    "doctor": "Say what the stores are set to, and what that means for what is promised.",
    "pages": "Write the pages as static files, for a CDN.",
    "token": "Print an identity token for a buyer, to try things out.",
}
HIDDEN = ("prepare", "demo")
"""Steps of `sluice up` that run as their own processes."""


class LazyCommands(TyperGroup):
    """Imports a command's module when that command is called, so that help is quick."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS and cmd_name not in HIDDEN:
            return None
        module = importlib.import_module(f"sluice.cli.{cmd_name}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(asked: bool) -> None:
    if asked:
        print(f"sluice {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyCommands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(
    help="Sluice runs flash sales: it sells exactly the stock, to one person once, and tells the "
    "truth at once.",
    epilog="Exit codes: 0 all is well, 1 a check failed, 2 wrong usage or configuration, "
    "3 a store is unavailable. Settings come from the environment; docs/operations.md lists them.",
)
def sluice(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    sys.exit(guarded(partial(app, prog_name="sluice")))


def guarded(command: Callable[[], object]) -> int:
    """Run a command; the exit code. What went wrong is one sentence on stderr, no traceback."""
    try:
        command()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except SettingsError as error:
        return _fail(error, USAGE)
    except (Invalid, InvalidFields) as error:
        return _fail(error, USAGE)
    except (NotFound, Conflict, IdempotencyMismatch) as error:
        return _fail(error, CHECK_FAILED)
    except Unavailable as error:
        return _fail(error, STORE_UNAVAILABLE)
    return 0


def _fail(error: Exception, code: int) -> int:
    sentence = " ".join(str(error).partition("(Background on this error")[0].split())
    print(f"sluice: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
