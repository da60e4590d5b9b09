"""A child process that dies with its parent, is started again when it fails, and can be stopped."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sluice import telemetry
from sluice.domain.errors import SettingsError

log = telemetry.get_logger("supervisor")

BACKOFF_MIN_S = 0.1
BACKOFF_MAX_S = 5.0
STEADY_S = 10.0
"""A child that lived this long was well; the next restart comes at once again."""
PR_SET_PDEATHSIG = 1


def tie_to_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What a new child runs first: this signal is to reach it when its parent dies, however.

    Linux only. The kernel means the *thread* that made the child, so use it from the main thread.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def tie() -> None:
        prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return tie


@dataclass(slots=True, kw_only=True)
class Child:
    """One supervised process. Its stdout goes to our stderr: stdout is for the ready line alone."""

    name: str
    command: Sequence[str]
    cwd: Path | None = None
    environ: Mapping[str, str] | None = None
    keeps: tuple[int, ...] = ()
    """Descriptors that it inherits."""
    final: frozenset[int] = frozenset()
    """Exit codes after which it is not started again: the configuration cannot work."""
    at_parents_death: signal.Signals = signal.SIGKILL
    """Our own processes lose nothing when they are killed, and none is left to hold the port."""
    process: asyncio.subprocess.Process | None = None
    _watcher: asyncio.Task[None] | None = None
    _failures: int = 0
    _started_at: float = 0.0

    async def start(self) -> None:
        """Raises `SettingsError` where the program cannot be run at all."""
        self._started_at = time.monotonic()
        try:
            self.process = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=self.cwd,
                env=self.environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=2,
                pass_fds=self.keeps,
                # A Ctrl-C in the terminal must reach the supervisor alone, which stops in order.
                start_new_session=True,
                preexec_fn=tie_to_parent(self.at_parents_death),
            )
        except OSError as error:
            raise SettingsError(
                f"{self.command[0]} cannot be run ({error.strerror}); install Sluice again."
            ) from None
        log.debug("Started.", action="child.started", child=self.name, pid=self.process.pid)

    def keep_running(self) -> None:
        """From now on start it again whenever it ends."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.name}")

    @property
    def exit_code(self) -> int | None:
        return None if self.process is None else self.process.returncode

    @property
    def gave_up(self) -> bool:
        return self._watcher is not None and self._watcher.done()

    async def wait(self) -> int:
        assert self.process is not None
        return await self.process.wait()

    async def stop(self, patience_s: float) -> None:
        """SIGTERM, and SIGKILL after `patience_s` seconds. Never starts it again."""
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
        if self.process is None or self.process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), patience_s)
        except TimeoutError:
            log.error("Did not stop in time.", action="child.killed", child=self.name)
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()

    async def _watch(self) -> None:
        while True:
            code = await self.wait()
            if code in self.final:
                return
            await self._start_again(code)

    async def _start_again(self, code: int) -> None:
        while True:
            if time.monotonic() - self._started_at > STEADY_S:
                self._failures = 0
            delay_s = min(BACKOFF_MIN_S * 2**self._failures, BACKOFF_MAX_S)
            self._failures += 1
            log.error(
                "Ended unexpectedly and is started again.",
                action="child.restarted",
                child=self.name,
                exit_code=code,
                delay_ms=round(delay_s * 1000),
            )
            await asyncio.sleep(delay_s)
            with suppress(SettingsError):  # out of memory or processes: that passes
                return await self.start()
