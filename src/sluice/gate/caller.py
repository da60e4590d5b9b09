"""One call of the function library, whoever makes it, and its faults as the gate's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError

from sluice.breaker import Breakers
from sluice.domain.errors import GateAway, GateNotArmed, GateUnavailable
from sluice.gate.client import Client, translated


class LostEpoch(GateNotArmed):
    """The gate does not hold the epoch that was asked for: its memory is gone, or it moved on."""


class Caller:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.breakers: Breakers | None = None
        """Where there are some, one for each shard."""

    async def _call(self, function: str, names: Sequence[str], *args: Any) -> Any:
        """The first of `names` says which shard it is. Raises `GateUnavailable`, `GateNotArmed`."""
        if self.breakers is None:
            return await self._called(function, names, *args)
        shard = names[0].partition("{")[2].partition("}")[0]
        breaker = self.breakers.of(f"gate:{shard}", GateAway, _is_fault)
        return await breaker.run(self._called(function, names, *args))

    async def _called(self, function: str, names: Sequence[str], *args: Any) -> Any:
        command = self.client.execute_command("FCALL", function, len(names), *names, *args)
        try:
            return await translated(command)
        except GateUnavailable as error:
            text = str(error.__cause__)
            if "LOSTEPOCH" in text:
                raise LostEpoch() from error
            if "Function not found" in text:
                raise GateNotArmed(
                    "The gate's server does not hold the function library."
                ) from error
            raise


def _is_fault(error: Exception) -> bool:
    """Whatever the server says, even that it may not: it is there."""
    return isinstance(error, GateUnavailable) and not isinstance(error.__cause__, ResponseError)
