"""The processes of one machine: started in order, kept running, stopped in order."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from sluice import telemetry
from sluice.domain.errors import SettingsError, SluiceError
from sluice.embedded.binary import Binary, find_binary
from sluice.embedded.child import Child
from sluice.embedded.folder import HeldFolder, can_load, check_stamp
from sluice.embedded.ledger_file import nothing_to_prepare
from sluice.embedded.probe import status_of, url_of
from sluice.embedded.store import Store
from sluice.settings import Settings

log = telemetry.get_logger("supervisor")

POLL_S = 0.01
SAY_WAITING_S = 10.0
STOP_S = 9.3
"""A stop has to be done within 10 s; what each process has of it depends on those before it."""
SERVE_STOP_S = 4.5
STORE_STOP_S = 1.5
CONFIGURATION = 2
"""The exit code of a process that has said what to change in the configuration."""


class StartError(SluiceError):
    """A process of ours ended with this code, and said why, before the product was ready."""

    def __init__(self, exit_code: int) -> None:
        super().__init__()
        self.exit_code = exit_code


@dataclass(kw_only=True)
class Supervisor:
    settings: Settings
    folder: HeldFolder
    host: str
    port: int
    demo: bool
    program: Sequence[str]
    environ: Mapping[str, str]
    worker_name: str
    """The same at every start on the folder: a worker that was killed left shards behind, and the
    next one need not wait until their leases end. Only one runs, as the folder is held."""
    when_ready: Callable[[str], None]
    stores: list[Child] = field(default_factory=list)
    work: Child | None = None
    serve: Child | None = None
    helpers: list[Child] = field(default_factory=list)
    """Processes that do one thing at the start and end."""

    async def run(self) -> int:
        """Start everything, wait for SIGTERM or Ctrl-C, stop everything; the exit code."""
        asked_to_stop = self._listen_for_signals()
        start = asyncio.create_task(self._start())
        asked = asyncio.create_task(asked_to_stop.wait())
        try:
            await asyncio.wait({start, asked}, return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                await start
                await asked
            return 0
        except StartError as refused:
            return refused.exit_code
        finally:
            asked.cancel()
            start.cancel()
            with suppress(asyncio.CancelledError, SettingsError, StartError):
                await start
            await self._stop()

    def _listen_for_signals(self) -> asyncio.Event:
        asked_to_stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, asked_to_stop.set)
        return asked_to_stop

    async def _start(self) -> None:
        if await asyncio.to_thread(nothing_to_prepare, self.settings):
            # Our own processes load their code while the stores load their data, and then wait.
            await asyncio.gather(self._start_stores(), self._start_processes())
        else:
            await asyncio.gather(self._start_stores(), self._prepare())
            await self._start_processes()
        await asyncio.gather(self._until_ready(), self._open_demo())
        for child in (self.serve, self.work):
            assert child is not None
            child.final = frozenset()  # what worked once is worth another try
        self.when_ready(f"ready {url_of(self.host, self.port)}")

    async def _stop(self) -> None:
        """HTTP first, so that nothing new is accepted; the stores last, when nobody needs them."""
        log.info("Stopping.", action="up.stopping")
        deadline = time.monotonic() + STOP_S
        if self.serve is not None:
            await self.serve.stop(SERVE_STOP_S)
        if self.work is not None:
            await self.work.stop(deadline - time.monotonic() - STORE_STOP_S)
        rest = [*self.helpers, *self.stores]
        await asyncio.gather(*(child.stop(STORE_STOP_S) for child in rest))
        log.info("Stopped.", action="up.stopped")

    # --- the stores

    async def _start_stores(self) -> None:
        wanted = []
        if not self.settings.redis_url:
            wanted.append("gate")
        if not self.settings.cache_url:
            wanted.append("cache")
        if not wanted:
            return
        binary = find_binary(fits=partial(can_load, self.folder.gate_dir))
        if "gate" in wanted:
            check_stamp(self.folder.gate_dir, binary)
        await asyncio.gather(*(self._start_store(name, binary) for name in wanted))

    async def _start_store(self, name: str, binary: Binary) -> None:
        folder = self.folder.gate_dir if name == "gate" else self.folder.cache_dir
        store = Store(
            name=name,
            binary=binary,
            socket=self.settings.run_dir / f"{name}.sock",
            folder=folder,
            log=self.folder.log_dir / f"{name}.log",
            durable=name == "gate",
        )
        child = Child(
            name=name,
            command=store.command(),
            cwd=folder,
            keeps=(self.folder.store_lock,),
            at_parents_death=signal.SIGTERM,
        )
        self.stores.append(child)
        await child.start()
        while not store.answers():
            if child.exit_code is not None:
                raise SettingsError(
                    f"The {name} server did not start ({store.last_words()}); see {store.log}."
                )
            await asyncio.sleep(POLL_S)
        child.keep_running()

    # --- our own processes

    async def _prepare(self) -> None:
        """Bring the ledger's schema up to date and look at stores that are not ours."""
        helper = self._sluice("prepare")
        self.helpers.append(helper)
        await helper.start()
        code = await helper.wait()
        if code != 0:
            raise StartError(max(code, 1))

    async def _start_processes(self) -> None:
        address = ("--host", self.host, "--port", str(self.port))
        self.serve = self._sluice("serve", "--supervised", *address)
        self.work = self._sluice("work", "--supervised")
        self.work.environ = {**self.environ, "SLUICE_WORKER_NAME": self.worker_name}
        for child in (self.serve, self.work):
            child.final = frozenset({CONFIGURATION})
            await child.start()
            child.keep_running()

    async def _open_demo(self) -> None:
        if not self.demo:
            return
        helper = self._sluice("demo")
        self.helpers.append(helper)
        await helper.start()
        if await helper.wait() != 0:
            log.warning("The sample sale could not be opened.", action="up.no_demo")

    def _sluice(self, *words: str) -> Child:
        return Child(
            name=words[0],
            command=[*self.program, *words],
            environ=self.environ,
            keeps=(self.folder.store_lock,),
        )

    async def _until_ready(self) -> None:
        say_waiting_at = time.monotonic() + SAY_WAITING_S
        while (status := await status_of(self.host, self.port, "/readyz")) != 200:
            for child in (self.serve, self.work):
                if child is not None and child.gave_up:
                    raise StartError(child.exit_code or CONFIGURATION)
            if time.monotonic() > say_waiting_at:
                log.warning("Not ready yet.", action="up.waiting", status=status)
                say_waiting_at += SAY_WAITING_S
            await asyncio.sleep(POLL_S)
