"""`sluice up`: check, hold the folder, keep its secrets, then supervise until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sluice.embedded.folder import hold
from sluice.embedded.probe import claim_port
from sluice.embedded.secrets import keep_secrets, name_of
from sluice.embedded.supervisor import Supervisor
from sluice.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run, and how to call Sluice's own command line (`program`)."""

    settings: Settings
    host: str
    port: int
    demo: bool | None
    """Whether to open a sample sale; None: on the first start in a folder."""
    program: Sequence[str]
    environ: Mapping[str, str]


def up(plan: Plan) -> int:
    """Run everything until SIGTERM or Ctrl-C; the exit code.

    Raises `SettingsError` with the one sentence that says what to change.
    """
    with hold(plan.settings) as folder:
        port = claim_port(plan.host, plan.port)
        kept = keep_secrets(plan.settings.data_dir, plan.environ)
        if kept.admin_token is not None:
            say(f"admin token (shown only now): {kept.admin_token}")
        supervisor = Supervisor(
            settings=plan.settings,
            folder=folder,
            host=plan.host,
            port=port,
            demo=kept.first_start if plan.demo is None else plan.demo,
            worker_name=name_of(plan.settings.data_dir),
            program=plan.program,
            environ=plan.environ,
            when_ready=say,
        )
        return asyncio.run(supervisor.run())


def say(line: str) -> None:
    print(line, flush=True)
