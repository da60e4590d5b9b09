"""The ledger: SQL, the truth. One object for everything that is asked of it or written to it."""

from __future__ import annotations

from sluice.ledger.accounts import Accounts
from sluice.ledger.api_keys import ApiKeys
from sluice.ledger.audit import Audit
from sluice.ledger.cancel import Cancel
from sluice.ledger.catalogue import Catalogue
from sluice.ledger.dead_letters import DeadLetters
from sluice.ledger.deadlines import Deadlines
from sluice.ledger.delivery_log import DeliveryLog
from sluice.ledger.engine import open_engines
from sluice.ledger.events import Events
from sluice.ledger.facts import Facts
from sluice.ledger.guests import Guests
from sluice.ledger.inbox import Inbox
from sluice.ledger.incidents import Incidents
from sluice.ledger.moments import Moments
from sluice.ledger.orders import Orders
from sluice.ledger.payments import Payments
from sluice.ledger.presence import Presence
from sluice.ledger.recorder import Recorder
from sluice.ledger.refunds import Refunds
from sluice.ledger.sale_audit import SaleAudit
from sluice.ledger.sale_facts import SaleFacts
from sluice.ledger.shards import Shards
from sluice.ledger.simulator import SimulatorBooks
from sluice.ledger.stock import Stock
from sluice.ledger.store import Clock
from sluice.ledger.ticks import Ticks
from sluice.ledger.trail import Trail
from sluice.ledger.waitlist import Waitlist

DEADLINE_MS = 900


class Ledger(
    Catalogue,
    Moments,
    Stock,
    Shards,
    Recorder,
    Orders,
    Cancel,
    Deadlines,
    Payments,
    Inbox,
    Refunds,
    Waitlist,
    Events,
    Presence,
    Audit,
    SaleAudit,
    SaleFacts,
    Ticks,
    Facts,
    SimulatorBooks,
    DeliveryLog,
    Accounts,
    Guests,
    Trail,
    ApiKeys,
    DeadLetters,
    Incidents,
):
    """Every call ends by its deadline; what is not known by then is `LedgerUnavailable`, and the
    next call finds its own way back when the database has.

    Each part is a file of its own and knows the `Store` alone.
    """

    @classmethod
    def from_url(
        cls, url: str, *, deadline_ms: int = DEADLINE_MS, clock: Clock | None = None
    ) -> Ledger:
        """`sqlite:///FILE`, `postgresql://…`, `mariadb://…` or `mysql://…`.

        `clock` gives Unix milliseconds and is asked on SQLite alone, where the gate's TIME decides
        deadlines; without one it is the machine's. Raises `SettingsError` on a URL that cannot
        work; nothing is connected yet.
        """
        return cls(open_engines(url, deadline_ms), deadline_ms=deadline_ms, clock=clock)
