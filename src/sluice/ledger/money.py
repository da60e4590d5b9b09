"""What a provider's word does to payments, orders and refunds: decided in memory, on locked rows.

A batch is loaded, decided event by event, and written in a few statements.
"""

from __future__ import annotations

from collections.abc import Iterable

from sluice.domain.order import OrderState, PaymentState
from sluice.domain.payment import PaymentEvent, PaymentEventKind, PaymentReason, RefundState
from sluice.ledger.books import Books, Changes, PaymentRow, RefundRow, Refused
from sluice.ledger.settling import Settling
from sluice.ledger.store import Transaction

_O = OrderState
_P = PaymentState
_HAS_PAID = frozenset({_O.PAID, _O.REFUNDING, _O.REFUNDED})


class Money:
    """The payments that some events are about, with their orders, ours until the end of `tx`."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._books = Books(tx)
        self._do = Changes()

    async def load(self, payment_ids: Iterable[int], *, with_refunds: bool) -> None:
        await self._books.load(payment_ids, with_refunds=with_refunds)

    async def flush(self) -> None:
        await Settling(self._tx, self._books, self._do).write()

    # --- what an event does -------------------------------------------------------------------

    def apply(self, event: PaymentEvent) -> None:
        """Raises `Refused` where it cannot be, having changed nothing."""
        payment = self._books.payments.get(event.payment_id)
        if payment is None or payment.provider != event.provider:
            raise Refused(f"{event.provider} has no payment {event.payment_id} of ours")
        match event.kind:
            case PaymentEventKind.CAPTURED:
                self._captured(payment, event)
            case PaymentEventKind.FAILED:
                self._given_up(payment, _P.FAILED)
            case PaymentEventKind.VOIDED:
                self._given_up(payment, _P.VOID)
            case PaymentEventKind.REFUND_COMPLETED:
                self.refund_completed(self._refund_meant(payment, event).id, event.reference)
            case PaymentEventKind.REFUND_FAILED:
                self.refund_failed(self._refund_meant(payment, event).id, "The provider says so.")

    def _captured(self, payment: PaymentRow, event: PaymentEvent) -> None:
        if event.amount is None:
            raise Refused("a capture without an amount")
        if payment.captured is not None:
            self._captured_again(payment, event)
            return
        payment.become(_P.CAPTURED)
        payment.captured = event.amount
        if event.reference != payment.reference:
            payment.capture = event.reference
        self._do.payments[payment.id] = payment
        self._do.ended.add(payment.number)
        reason = self._why_not(payment)
        if reason is None:
            payment.pays = True
            self._books.orders[payment.number].state = _O.PAID
            self._do.paid.add(payment.number)
        else:
            self._owe(payment, reason)

    def _why_not(self, payment: PaymentRow) -> PaymentReason | None:
        """Why its money does not pay the order, or None where it does."""
        order = self._books.orders[payment.number]
        if order.state in _HAS_PAID:
            return PaymentReason.SECOND
        if order.state is not _O.AWAITING_PAYMENT:
            return PaymentReason.LATE
        return None if payment.captured == payment.amount else PaymentReason.WRONG_AMOUNT

    def _captured_again(self, payment: PaymentRow, event: PaymentEvent) -> None:
        """Under another name it is other money; else it is an old story."""
        name = event.reference
        known = {_name(each) for each in self._books.of_order[payment.number] if each.captured}
        if name is None or _name(payment) is None or name in known:
            return
        extra = PaymentRow(
            id=0,
            number=payment.number,
            provider=payment.provider,
            amount=payment.amount,
            before=_P.CAPTURED,
            state=_P.CAPTURED,
            reference=name,
            capture=None,
            captured=event.amount,
            refunded_minor=0,
            pays=False,
            reason=None,
            fresh=True,
        )
        self._books.of_order[payment.number].append(extra)
        self._do.extra.append(extra)
        self._owe(extra, PaymentReason.SECOND)

    def _owe(self, payment: PaymentRow, reason: PaymentReason) -> None:
        payment.become(_P.REFUNDING)
        payment.reason = reason.value
        self._do.owed.append(payment)

    def _given_up(self, payment: PaymentRow, state: PaymentState) -> None:
        """Word that comes after the money, or twice, says nothing new."""
        if payment.state is _P.PENDING:
            payment.become(state)
            self._do.payments[payment.id] = payment
            self._do.ended.add(payment.number)

    # --- refunds --------------------------------------------------------------------------------

    def _refund_meant(self, payment: PaymentRow, event: PaymentEvent) -> RefundRow:
        """By our id, else the payment's refund of that amount, one that is under way first."""
        theirs = [each for each in self._books.refunds.values() if each.payment_id == payment.id]
        if event.refund_id is not None:
            theirs = [each for each in theirs if each.id == event.refund_id]
        elif event.amount is not None:
            theirs = [each for each in theirs if each.amount == event.amount]
        if not theirs:
            raise Refused("a refund that we did not ask for")
        return min(theirs, key=lambda each: (each.closed, each.id))

    def refund_completed(self, refund_id: int, reference: str | None) -> None:
        refund = self._books.refunds[refund_id]
        if refund.state is RefundState.COMPLETED:
            return
        if refund.closed:
            raise Refused("a later refund stands in for this one")
        payment = self._books.payments[refund.payment_id]
        assert payment.captured is not None
        refunded_minor = payment.refunded_minor + refund.amount.minor
        whole = refunded_minor == payment.captured.minor
        payment.become(_P.REFUNDED if whole else _P.CAPTURED)
        payment.refunded_minor = refunded_minor
        refund.state, refund.closed = RefundState.COMPLETED, True
        refund.reference = refund.reference or reference
        self._do.payments[payment.id] = payment
        self._do.refunds[refund.id] = refund
        if refund.quantity:
            self._do.returned.append(refund)

    def refund_failed(self, refund_id: int, error: str) -> None:
        refund = self._books.refunds[refund_id]
        if refund.state in (RefundState.PENDING, RefundState.SENT):
            refund.state, refund.error = RefundState.FAILED, error
            self._do.refunds[refund.id] = refund


def _name(payment: PaymentRow) -> str | None:
    return payment.capture or payment.reference
