"""Paying: the buyer's way to a checkout. What providers tell us comes by the hot lane."""

from __future__ import annotations

from litestar import Controller, post
from litestar.params import FromPath

from sluice.admission.overload import Work
from sluice.domain.errors import Conflict, Unavailable
from sluice.domain.order import OrderState
from sluice.domain.payment import Payment
from sluice.domain.times import render_time
from sluice.web.api.answering import Answer, json_answer
from sluice.web.api.limited import STEPS
from sluice.web.api.reading import AnyRequest, read_id, read_nothing
from sluice.web.parts import AskedBuyer, AskedParts


class Payments(Controller):
    path = "/v1"

    @post("/orders/{order:str}/payment", status_code=200, limits=STEPS, sheds=Work.OWN)
    async def pay(
        self, order: FromPath[str], request: AnyRequest, parts: AskedParts, buyer: AskedBuyer
    ) -> Answer:
        """Where to pay for it; asked again, the same place.

        Raises `NotFound`, `Conflict` where nothing is to be paid, and `Unavailable`.
        """
        await read_nothing(request)
        receipt = request.headers.get("sluice-receipt")
        number = read_id(order)
        found = await parts.purchase.order(buyer, number, receipt)
        if found.state is OrderState.QUEUED:
            raise Conflict("The order is not recorded yet; ask again in a moment.")
        payment = await parts.settlement.open_checkout(number, buyer.buyer)
        return json_answer(_shown(payment))


def _shown(payment: Payment) -> dict[str, object]:
    if payment.checkout_url is None:  # another request opens it at this very moment
        raise Unavailable
    ends_at_ms = payment.expires_at_ms
    return {
        "payment_id": str(payment.id),
        "checkout_url": payment.checkout_url,
        "expires_at": None if not ends_at_ms else render_time(ends_at_ms),
    }
