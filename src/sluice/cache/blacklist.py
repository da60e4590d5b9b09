"""The blacklist on the cache server: a sorted set by end, why it came to it, and news of it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sluice.cache import keys
from sluice.cache.server import CacheServer
from sluice.domain.blacklist import BLACKLIST_MAX, Blacklisted


class Change(msgspec.Struct):
    """One message of the channel; `until_ms` is 0 where somebody was let off."""

    who: str
    until_ms: int


class _Why(msgspec.Struct):
    since_ms: int
    reason: str


_change = msgspec.json.Decoder(Change)
_why = msgspec.json.Decoder(_Why)


class BlacklistStore:
    """What all processes and operators see. Every call raises `CacheUnavailable`."""

    def __init__(self, server: CacheServer) -> None:
        self._server = server

    async def add(self, entry: Blacklisted) -> None:
        why = msgspec.json.encode(_Why(entry.since_ms, entry.reason))
        await self._server.do_all(
            [
                ("ZADD", keys.BLACKLIST, entry.until_ms, entry.who),
                ("HSET", keys.BLACKLIST_WHY, entry.who, why),
                ("PUBLISH", keys.BLACKLISTED, _message(entry.who, entry.until_ms)),
            ]
        )

    async def remove(self, who: str) -> bool:
        """Whether it was there."""
        removed, _, _ = await self._server.do_all(
            [
                ("ZREM", keys.BLACKLIST, who),
                ("HDEL", keys.BLACKLIST_WHY, who),
                ("PUBLISH", keys.BLACKLISTED, _message(who, 0)),
            ]
        )
        return bool(removed)

    async def until(self, now_ms: int) -> dict[str, int]:
        """Everybody who is on it now, and until when. What is over is swept away."""
        over = await self._server.do("ZRANGEBYSCORE", keys.BLACKLIST, "-inf", now_ms)
        surplus = await self._surplus(len(over))
        gone = [*over, *surplus]
        if gone:
            await self._server.do_all(
                [("ZREM", keys.BLACKLIST, *gone), ("HDEL", keys.BLACKLIST_WHY, *gone)]
            )
        rows = await self._server.do("ZRANGE", keys.BLACKLIST, 0, -1, "WITHSCORES")
        return {name(who): int(score) for who, score in _pairs(rows)}

    async def entries(self, offset: int, count: int) -> list[Blacklisted]:
        """Those that last longest first."""
        rows = await self._server.do(
            "ZREVRANGE", keys.BLACKLIST, offset, offset + count - 1, "WITHSCORES"
        )
        pairs = _pairs(rows)
        if not pairs:
            return []
        whys = await self._server.do("HMGET", keys.BLACKLIST_WHY, *(who for who, _ in pairs))
        return [
            _entry(name(who), int(score), why)
            for (who, score), why in zip(pairs, whys, strict=True)
        ]

    async def follow(self, heard: Callable[[Change | None], None]) -> None:
        """Every change, until cancelled; None where some may have been missed."""

        def told(message: bytes | None) -> None:
            if message is None:
                heard(None)
                return
            try:
                heard(_change.decode(message))
            except msgspec.DecodeError:
                heard(None)

        await self._server.follow(keys.BLACKLISTED, told)

    async def _surplus(self, leaving: int) -> list[bytes]:
        too_many = int(await self._server.do("ZCARD", keys.BLACKLIST)) - BLACKLIST_MAX
        if too_many <= leaving:
            return []
        first: list[bytes] = await self._server.do("ZRANGE", keys.BLACKLIST, 0, too_many - 1)
        return first


def name(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _message(who: str, until_ms: int) -> bytes:
    return msgspec.json.encode(Change(who, until_ms))


def _pairs(rows: list[bytes]) -> list[tuple[bytes, float]]:
    return [(rows[at], float(rows[at + 1])) for at in range(0, len(rows), 2)]


def _entry(who: str, until_ms: int, raw: bytes | None) -> Blacklisted:
    try:
        why = _why.decode(raw or b"")
    except msgspec.DecodeError:
        why = _Why(0, "")
    return Blacklisted(who, until_ms, why.since_ms, why.reason)
