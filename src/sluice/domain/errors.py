"""Faults. What a buyer can be told (sold out, limit reached) is an `Outcome`, no exception."""

from __future__ import annotations


class SluiceError(Exception):
    """Something went wrong in Sluice."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class SettingsError(SluiceError):
    """The configuration cannot work. The message is one sentence that says what to change."""


class Invalid(SluiceError):
    """Input that breaks a rule; nothing was changed. `field` names the part at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class InvalidFields(SluiceError):
    """Input that breaks one or more rules; nothing was changed. Every field at fault is named."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        """`errors`: (field, what is wrong), such as `("items[0].stock", "must be …")`."""
        super().__init__("; ".join(f"{field or 'body'} {message}" for field, message in errors))
        self.errors = errors


class Unauthenticated(SluiceError):
    """This bearer token is not valid."""

    def __init__(self, *, expired: bool = False) -> None:
        super().__init__("This bearer token has expired." if expired else None)
        self.expired = expired


class BadCredentials(SluiceError):
    """Name and password, or phone and code, do not go together; which of them is not said."""


class TooManyRequests(SluiceError):
    """Asked too often; it was not done."""

    def __init__(self, retry_after_s: int, limit: str) -> None:
        """`limit`: the name of the one that was reached."""
        super().__init__()
        self.retry_after_s = retry_after_s
        self.limit = limit


class NotFound(SluiceError):
    """There is no such thing, or it is not the caller's to see."""


class Conflict(SluiceError):
    """The present state does not allow this; nothing was changed."""


class IdempotencyMismatch(SluiceError):
    """This Idempotency-Key was used before with another request body."""


class Unavailable(SluiceError):
    """A store is away; the outcome is unknown, and the same request may be sent again."""

    explains = False
    """Whether the message is for whoever asked; else it may name hosts or statements."""


class GateUnavailable(Unavailable):
    """The gate did not answer in time."""


class GateNotArmed(Unavailable):
    """The gate is not armed: nothing is sold until it was checked against the ledger."""


class LedgerUnavailable(Unavailable):
    """The ledger did not answer in time."""


class CacheUnavailable(Unavailable):
    """The cache server did not answer in time."""


class GateAway(GateUnavailable):
    """The gate does not answer just now and was not asked. Send the same request again."""

    explains = True


class LedgerAway(LedgerUnavailable):
    """The ledger does not answer just now and was not asked. Send the same request again."""

    explains = True


class OrderHeld(LedgerUnavailable):
    """The ledger is away. This order is held and nothing of it is lost; how it stands can be told
    when the ledger is back."""

    explains = True


class LedgerContended(LedgerUnavailable):
    """The ledger answers, but others were in the way for too long."""


class CacheAway(CacheUnavailable):
    """The cache server does not answer just now and was not asked. Send the same request again."""

    explains = True


class Overloaded(SluiceError):
    """Too many requests are waiting already; this one was not started."""


class FenceLost(SluiceError):
    """Another worker owns this shard now; this one must stop at once and write nothing."""


class StreamGap(SluiceError):
    """The gate's log has a gap: entries between the recorded position and the next one are gone."""
