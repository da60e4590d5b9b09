"""Sessions on the cache server: by the hash of their token, and listed for each account."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from redis.exceptions import RedisError

from sluice.cache import keys
from sluice.cache.server import BACKOFF_S, HEARTBEAT_S, TIMEOUT_S, CacheServer
from sluice.domain.account import (
    ADDRESS_CHARS_MAX,
    LABEL_CHARS_MAX,
    Alive,
    SessionFacts,
    Where,
)

LIST_EXPIRE_S = 90 * 86_400
"""No session lives longer, so a list that was not added to for so long lists nothing."""
_VERSION = 1
_RECORD = struct.Struct(">BQQQ12s")


class _Entry(msgspec.Struct, frozen=True):
    """What the list of an account says of one session."""

    digest: bytes
    address: str
    label: str


_entries = msgspec.json.Decoder(_Entry)


class SessionCells:
    """Raises `CacheUnavailable` everywhere."""

    def __init__(self, server: CacheServer) -> None:
        self._server = server

    async def open(
        self, digest: bytes, alive: Alive, where: Where, sessions_max: int
    ) -> list[bytes]:
        """Keeps a session; the digests of the oldest, which had to go to make room."""
        entry = _Entry(digest, where.address[:ADDRESS_CHARS_MAX], where.label[:LABEL_CHARS_MAX])
        ttl_ms = alive.expires_at_ms - alive.opened_at_ms
        listed = keys.sessions(alive.account_id)
        *_, count = await self._server.do_all(
            [
                ("SET", keys.session(digest), _pack(alive), "PX", ttl_ms),
                ("HSET", listed, alive.id, msgspec.json.encode(entry)),
                ("EXPIRE", listed, LIST_EXPIRE_S),
                ("HLEN", listed),
            ]
        )
        if count <= sessions_max:
            return []
        return await self._make_room(alive.account_id, sessions_max)

    async def _make_room(self, account_id: int, sessions_max: int) -> list[bytes]:
        found = await self._listed(account_id)
        dead = [id_ for id_, _, alive in found if alive is None]
        living = [each for each in found if each[2] is not None]
        oldest = living[: max(0, len(living) - sessions_max)]
        for id_, entry, _ in oldest:
            await self._end(account_id, id_, entry.digest)
        if dead:
            await self._server.do("HDEL", keys.sessions(account_id), *dead)
        return [entry.digest for _, entry, _ in oldest]

    async def alive(self, digests: Sequence[bytes]) -> list[Alive | None]:
        """In the order asked; one call for all."""
        if not digests:
            return []
        found = await self._server.do("MGET", *(keys.session(digest) for digest in digests))
        return [_unpack(packed) for packed in found]

    async def renew(self, digest: bytes, alive: Alive, ttl_ms: int) -> bool:
        """False where it was revoked meanwhile: a session that is gone does not come back."""
        renewed = await self._server.do(
            "SET", keys.session(digest), _pack(alive), "XX", "PX", ttl_ms
        )
        return renewed is not None

    async def of_account(self, account_id: int) -> list[SessionFacts]:
        """Those that can be used, newest first."""
        return [
            SessionFacts(id_, alive.opened_at_ms, alive.expires_at_ms, entry.address, entry.label)
            for id_, entry, alive in reversed(await self._listed(account_id))
            if alive is not None
        ]

    async def revoke(self, account_id: int, session_id: str) -> bytes | None:
        """Ends one session and tells every process; its digest, or None: there is none."""
        raw = await self._server.do("HGET", keys.sessions(account_id), session_id)
        if raw is None:
            return None
        digest = _entries.decode(raw).digest
        return digest if await self._end(account_id, session_id, digest) else None

    async def _end(self, account_id: int, session_id: str, digest: bytes) -> bool:
        ended, *_ = await self._server.do_all(
            [
                ("DEL", keys.session(digest)),
                ("HDEL", keys.sessions(account_id), session_id),
                ("PUBLISH", keys.REVOKED, digest),
            ]
        )
        return bool(ended)

    async def _listed(self, account_id: int) -> list[tuple[str, _Entry, Alive | None]]:
        """Oldest first; those that have run out come first of all."""
        raw = await self._server.do("HGETALL", keys.sessions(account_id))
        pairs = raw.items() if isinstance(raw, dict) else zip(raw[::2], raw[1::2], strict=True)
        entries = [(id_.decode(), _entries.decode(entry)) for id_, entry in pairs]
        alive = await self.alive([entry.digest for _, entry in entries])
        found = [(id_, entry, a) for (id_, entry), a in zip(entries, alive, strict=True)]
        return sorted(found, key=lambda each: each[2].opened_at_ms if each[2] is not None else 0)

    # --- news of what is revoked -----------------------------------------------------------

    async def listen(
        self, revoked: Callable[[bytes], None], listening: Callable[[bool], None]
    ) -> None:
        """Call `revoked` with the digest of every session that is ended, until cancelled, and
        `listening` whenever such news begins or ceases to arrive."""
        backoff_s = BACKOFF_S[0]
        while True:
            try:
                async with self._server.pubsub() as pubsub:
                    async with asyncio.timeout(TIMEOUT_S):
                        await pubsub.subscribe(keys.REVOKED)
                        await _confirmed(pubsub)
                    backoff_s = BACKOFF_S[0]
                    listening(True)
                    await _deliver(pubsub, revoked)
            except (RedisError, OSError) as error:
                self._server.note_failure(error)
            finally:
                listening(False)
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.0))
            backoff_s = min(backoff_s * 2, BACKOFF_S[1])


async def _confirmed(pubsub: Any) -> None:
    """Until the server has said that news arrives from now on."""
    while True:
        message = await pubsub.get_message(timeout=TIMEOUT_S)
        if message is not None and message["type"] == "subscribe":
            return


async def _deliver(pubsub: Any, revoked: Callable[[bytes], None]) -> None:
    """Hand on what arrives until the connection breaks."""
    while True:
        message = await pubsub.get_message(timeout=HEARTBEAT_S)
        if message is None:
            async with asyncio.timeout(TIMEOUT_S):
                await pubsub.ping()
            message = await pubsub.get_message(timeout=TIMEOUT_S)
            if message is None:
                raise TimeoutError("no answer to a ping")
        if message["type"] == "message":
            revoked(message["data"])


def _pack(alive: Alive) -> bytes:
    return _RECORD.pack(
        _VERSION,
        alive.account_id,
        alive.opened_at_ms,
        alive.expires_at_ms,
        alive.id.encode(),
    )


def _unpack(packed: bytes | None) -> Alive | None:
    """What another version wrote reads as no session: its owner logs in again."""
    if packed is None or len(packed) != _RECORD.size or packed[0] != _VERSION:
        return None
    _, account_id, opened_at_ms, expires_at_ms, id_ = _RECORD.unpack(packed)
    return Alive(account_id, id_.decode(), opened_at_ms, expires_at_ms)
