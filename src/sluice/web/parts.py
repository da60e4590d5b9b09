"""What the framework's lane works with; `wiring` fills it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from litestar.di import NamedDependency
from litestar.params import SkipValidation

from sluice.accounts.admin import AdminTokens
from sluice.accounts.identities import Identities
from sluice.accounts.identity import Identity
from sluice.admission.guests import GuestLists
from sluice.admission.limits import Limiter
from sluice.audit import Auditor
from sluice.breaker import Breakers
from sluice.cache.server import CacheServer
from sluice.catalog.snapshots import Snapshots
from sluice.flow import Purchase
from sluice.gate.clock import GateClock
from sluice.gate.gate import Gate
from sluice.ledger.ledger import Ledger
from sluice.operate import Operator
from sluice.payment.simulator import Simulator
from sluice.settings import Settings
from sluice.settlement import Settlement
from sluice.waiting import Waiting
from sluice.web.entrance import Entrance
from sluice.web.entry import Entry
from sluice.web.limiting import Limiting
from sluice.web.metrics import Board, Counts
from sluice.web.pace import PollPace
from sluice.web.watch import Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One HTTP worker's parts, for the controllers."""

    settings: Settings
    ledger: Ledger
    gate: Gate
    purchase: Purchase
    waiting: Waiting
    operator: Operator
    auditor: Auditor
    snapshots: Snapshots
    identities: Identities
    entry: Entry
    admin: AdminTokens
    cache: CacheServer
    clock: GateClock
    board: Board
    counts: Counts
    pace: PollPace
    began_to_wait: Callable[[int, bytes], None]
    """Told of the item and the buyer's digest when somebody takes a place in line."""
    settlement: Settlement
    simulator: Simulator | None
    """Where it is the provider of new payments."""
    limiter: Limiter
    limiting: Limiting
    guests: GuestLists
    entrance: Entrance
    watch: Watch
    breakers: Breakers = field(default_factory=Breakers)


AskedParts = NamedDependency[SkipValidation[Parts]]
"""How a handler asks for them, as `parts`."""
AskedBuyer = NamedDependency[SkipValidation[Identity]]
"""How a handler asks who is calling, as `buyer`; whoever is nobody gets a 401."""
