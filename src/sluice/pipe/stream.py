"""Reads the gate's log in order, without a gap, in batches that fit one ledger transaction."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sluice.domain.errors import StreamGap
from sluice.domain.log import LogBatch, LogEntry

READ_MAX = 512
"""Log entries in one read; an entry may hold a whole batch of orders."""


class Log(Protocol):
    """The store behind the pipe: raw entries `(counter, kind, data)`, oldest first."""

    async def read(
        self, shard: int, epoch: int, after: int, count: int, block_ms: int
    ) -> list[tuple[int, bytes, bytes]]: ...

    async def trim(self, shard: int, epoch: int, below: int) -> int: ...


Unpack = Callable[[bytes, bytes], Iterable[LogEntry]]


class Pipe:
    """One shard's log from a position on. Not shared between tasks."""

    def __init__(self, log: Log, unpack: Unpack, shard: int, epoch: int, counter: int) -> None:
        self._log = log
        self._unpack = unpack
        self._shard = shard
        self._epoch = epoch
        self._counter = counter
        self._ahead: deque[tuple[int, bytes, bytes]] = deque()
        self._head: list[LogEntry] | None = None
        """Facts of the first entry ahead, once it was unpacked."""

    async def next_batch(self, *, facts_max: int, block_ms: int) -> LogBatch | None:
        """The entries that follow, up to `facts_max` facts (at least one entry), or None.

        Raises `StreamGap` where the next entry is missing or cannot be read: then nothing after it
        may be recorded. What stands before it is given out first.
        """
        if not self._ahead:
            self._ahead.extend(
                await self._log.read(self._shard, self._epoch, self._counter, READ_MAX, block_ms)
            )
        first, facts = self._counter + 1, list[LogEntry]()
        while self._ahead:
            try:
                entry = self._unpack_head()
            except StreamGap:
                if self._counter < first:
                    raise
                break
            if facts and len(facts) + len(entry) > facts_max:
                break
            facts += entry
            self._counter = self._ahead.popleft()[0]
            self._head = None
        if self._counter < first:
            return None
        return LogBatch(self._shard, self._epoch, first, self._counter, facts)

    async def trim(self, below: int) -> int:
        """Forget the log below an entry; how many entries went. Never trim what is not recorded."""
        return await self._log.trim(self._shard, self._epoch, below)

    def _unpack_head(self) -> list[LogEntry]:
        """The facts of the first entry ahead. Entries wait packed: a thousand take little room."""
        counter, kind, data = self._ahead[0]
        if counter != self._counter + 1:
            raise StreamGap(
                f"The gate's log of shard {self._shard} goes from entry {self._counter} "
                f"to {counter}."
            )
        if self._head is None:
            try:
                self._head = list(self._unpack(kind, data))
            except (ValueError, IndexError, struct.error) as error:
                raise StreamGap(
                    f"Entry {counter} of the gate's log of shard {self._shard} "
                    f"cannot be read: {error}."
                ) from error
        return self._head


class RedisLog:
    """The log as a Redis stream. `stream_key` is the gate's; `execute` runs one command."""

    def __init__(self, execute: Callable[..., Any], stream_key: Callable[[int, int], str]) -> None:
        self._execute = execute
        self._stream_key = stream_key

    async def read(
        self, shard: int, epoch: int, after: int, count: int, block_ms: int
    ) -> list[tuple[int, bytes, bytes]]:
        key = self._stream_key(shard, epoch)
        block = ("BLOCK", block_ms) if block_ms else ()
        reply = await self._execute("XREAD", "COUNT", count, *block, "STREAMS", key, f"{after}-0")
        if not reply:
            return []
        entries = reply[0][1] if isinstance(reply, list) else next(iter(reply.values()))[0]
        return [(int(name.split(b"-")[0]), *_fields(fields)) for name, fields in entries]

    async def trim(self, shard: int, epoch: int, below: int) -> int:
        key = self._stream_key(shard, epoch)
        return int(await self._execute("FCALL", "sluice_trim_v1", 1, key, below))


def _fields(fields: Any) -> tuple[bytes, bytes]:
    pairs = (
        fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
    )
    return pairs[b"k"], pairs[b"d"]
