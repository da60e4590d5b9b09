"""Taking in orders that were cancelled while the gate alone had them: they never hold a unit here,
and the gate is to take theirs back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import insert

from sluice.domain.log import Accepted
from sluice.domain.number import EPOCH_S
from sluice.domain.order import OrderState, PaymentState
from sluice.ledger import bulk
from sluice.ledger.intake import Intake
from sluice.ledger.tables import releases

_CANCELLED = OrderState.CANCELLED.value


class CancelledIntake(Intake):
    async def _take_units(self, run: Sequence[Accepted]) -> None:
        """None: whoever comes later may have them."""

    async def _insert(self, run: Sequence[Accepted]) -> None:
        await super()._insert(run)
        rows = [
            {
                "number": order.number,
                "shard": order.number >> 24 & 0xFF,
                "item_id": order.item_id,
                "limit_group": self._facts[order.item_id].limit_group,
                "quantity": order.quantity,
                "decided_at_ms": self._tx.now_ms,
                "buyer": order.buyer,
                "reason": _CANCELLED,
            }
            for order in run
        ]
        await self._tx.run(insert(releases), rows)

    def _rows_of(self, run: Sequence[Accepted]) -> tuple[list[bulk.Row], ...]:
        now_ms = self._tx.now_ms
        rows: list[bulk.Row] = []
        slots: list[bulk.Row] = []
        history: list[bulk.Row] = []
        for number, item_id, quantity, mask, nonce, buyer in run:
            facts = self._facts[item_id]
            rows.append(
                (
                    number,
                    facts.sale_id,
                    item_id,
                    mask,
                    facts.price_minor * quantity,
                    ((number >> 32) + EPOCH_S) * 1000,
                    now_ms,
                    None,
                    quantity,
                    0,
                    nonce,
                    facts.currency,
                    _CANCELLED,
                    PaymentState.NONE.value,
                    buyer,
                )
            )
            slots.append((buyer, facts.limit_group, -number, number))
            history.append((number, 1, _CANCELLED, now_ms))
        return rows, slots, history
