"""The hot lane: sale snapshot, pass, purchase, order status and payment callbacks, as plain RSGI
coroutines.

They are looked up before the framework. Everything a request costs here is paid by every buyer in
the first second of a sale, so answers are joined from prepared bytes; `catalog.view` and
`web.problems` say what they must look like, and a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from math import inf
from time import perf_counter
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from sluice.accounts.identities import Identities
from sluice.accounts.identity import Identity
from sluice.admission.guests import GuestLists
from sluice.admission.limits import Verdict
from sluice.admission.overload import Work
from sluice.admission.sale_limits import BUY, CHALLENGE, KNOCK, PASS, RouteLimits
from sluice.admission.waiting_room import WaitingRooms
from sluice.catalog.snapshots import ItemRoute, Snapshots
from sluice.catalog.view import render_money, render_order
from sluice.domain import number
from sluice.domain.errors import NotFound
from sluice.domain.order import Order
from sluice.domain.outcome import Outcome
from sluice.domain.sale import PER_BUYER_MAX, Challenge, Limits
from sluice.domain.times import render_time
from sluice.flow import Purchase, Reserved
from sluice.settlement import Settlement
from sluice.web.credentials import Credentials
from sluice.web.entrance import Entrance
from sluice.web.limiting import Headers, Limiting, answer_refused, marks
from sluice.web.metrics import Counts
from sluice.web.overload import sheds
from sluice.web.pace import PollPace
from sluice.web.patience import Patience
from sluice.web.problems import (
    SECURITY_HEADERS,
    Problem,
    around_fast,
    encode_fast,
    for_outcome,
    headers_fast,
    instance_of,
    invalid,
    of,
    request_id_of,
)
from sluice.web.room_lane import PATH_END as ROOM_END
from sluice.web.room_lane import Asked, RoomLane
from sluice.web.tally import Tally

BODY_MAX = 1024
"""Bytes of a request body in this lane."""
CALLBACK_BYTES_MAX = 256 << 10
"""Providers wrap whole objects into their callbacks; Stripe's largest are well below."""
CALLBACK_ROUTE = "/v1/webhooks/payments/{provider}"
ANSWER_MAX = 4096
"""The same where a challenge's answer may be in it."""
_NO_SALE = Limits()
"""What limits those who name no sale of ours, such as with a forged pass."""
ID_DIGITS_MAX = 18
TILLS_MAX = 10_000

_CALLBACKS = "/v1/webhooks/payments/"
_JSON_TYPES = frozenset({None, "application/json"})
_JSON_HEADERS = [
    ("content-type", "application/json"),
    ("cache-control", "no-store"),
    *SECURITY_HEADERS,
]


class HttpProtocol(Protocol):
    """The part of Granian's HTTP protocol object that is used here."""

    def __call__(self) -> Any: ...

    def __aiter__(self) -> Any: ...

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...

    def response_empty(self, status: int, headers: list[tuple[str, str]]) -> None: ...


Answer = Coroutine[Any, Any, None]


class BuyBody(msgspec.Struct, forbid_unknown_fields=True):
    quantity: int = 1


class PassBody(msgspec.Struct, forbid_unknown_fields=True):
    """Challenges are asked by a sale's policy; their answers come with this body."""

    challenge_id: str | None = None
    answer: str | None = None


_decode_buy = msgspec.json.Decoder(BuyBody).decode
_decode_pass = msgspec.json.Decoder(PassBody).decode
_PLAIN_BUY = BuyBody()
_NO_ANSWER = PassBody()
_USUAL = {b'{"quantity":1}': 1, b'{"quantity": 1}': 1}
"""What nearly everybody sends, decoded."""
_SHORT = frozenset(map(str, range(64)))
"""Lengths of the bodies that nearly everybody sends."""


class _Till:
    """What is ready for everybody who buys an item, until its route is made anew."""

    __slots__ = ("limits", "route", "sold_out", "sold_out_until_ms")

    def __init__(self, route: ItemRoute, limits: RouteLimits) -> None:
        self.route = route
        self.limits = limits
        self.sold_out = ("", "")
        """The problem document around the request id."""
        self.sold_out_until_ms = 0.0


class Lane:
    """Routes of the hot lane. `find` gives the coroutine for a request, or None: not ours."""

    def __init__(
        self,
        *,
        purchase: Purchase,
        snapshots: Snapshots,
        identities: Identities,
        credentials: Credentials,
        limiting: Limiting,
        entrance: Entrance,
        now_ms: Callable[[], int],
        counts: Counts,
        tally: Tally,
        pace: PollPace,
        settlement: Settlement,
        rooms: WaitingRooms,
        guests: GuestLists,
        began_to_wait: Callable[[int, bytes], None] = lambda _sale_id, _digest: None,
    ) -> None:
        """`began_to_wait` is told of the sale and the buyer's digest when somebody takes a place
        in its waiting room."""
        self._purchase = purchase
        self._settlement = settlement
        self._snapshots = snapshots
        self._identities = identities
        self._credentials = credentials
        self._limiting = limiting
        self._entrance = entrance
        self._now_ms = now_ms
        self._counts = counts
        self._tally = tally
        self._poll_after_ms = pace.ms
        self._tills: dict[int, _Till] = {}
        self._order_heads: dict[tuple[int, int], tuple[str, str]] = {}
        self._second = (0, "")
        self._expiry = (0, "")
        self.patience = Patience()
        """Its `run` must be running."""
        self.room = RoomLane(
            asked=Asked(
                self._known_buyer,
                self._buyer,
                self._address,
                lambda scope, proto: self._body(
                    scope.headers, proto, _decode_pass, _NO_ANSWER, ANSWER_MAX
                ),
                _id,
                _headers,
                self._fault,
            ),
            rooms=rooms,
            guests=guests,
            snapshots=snapshots,
            limiting=limiting,
            entrance=entrance,
            now_ms=now_ms,
            counts=counts,
            began_to_wait=began_to_wait,
        )

    def find(self, method: str, path: str) -> Callable[[Any, Any], Answer] | None:
        if method == "POST":
            if path.startswith("/v1/buy/"):
                return self.buy
            if path.startswith("/v1/sales/") and path.endswith("/pass"):
                return self.issue_pass
            if path.startswith(_CALLBACKS):
                return self.callback
            if path.endswith(ROOM_END) and _is_room(path):
                return self.room.join
        elif method in ("GET", "HEAD"):  # the server leaves the body away
            if path.startswith("/v1/orders/"):
                return self.order
            if path.startswith("/v1/sales/") and len(path) > 10:
                if path.count("/") == 3:
                    return self.sale
                if path.endswith("/challenge") and path.count("/") == 4:
                    return self.challenge
                if path.endswith(ROOM_END) and _is_room(path):
                    return self.room.show
        elif method == "DELETE" and path.endswith(ROOM_END) and _is_room(path):
            return self.room.leave
        return None

    # --- POST /v1/buy/{pass} ---------------------------------------------------------------

    @sheds(Work.BUY)
    async def buy(self, scope: Any, proto: HttpProtocol) -> None:
        """An attempt to buy: 202 with the order, or why not."""
        began, now_ms = perf_counter(), self._now_ms()
        headers = scope.headers
        request_id = request_id_of(headers.get("x-request-id"))
        told: Headers = ()
        sale_id = 0
        try:
            token = self._token(scope, headers)
            buyer = self._identities.of_bearer(token, now_ms // 1000) or await self._buyer(scope)
            verified = self._purchase.verify(scope.path[8:], buyer)
            route = till = None
            if verified is not None:
                route = self._snapshots.item_route(
                    verified.item_id
                ) or await self._snapshots.load_route(verified.item_id)
            if route is None:
                limits = self._limiting.of_sale(BUY, 0, _NO_SALE)
            else:
                sale_id = route.sale_id
                till = self._till(route)
                limits = till.limits
            address = self._address(scope)
            verdict = self._limiting.give(limits, buyer, address)
            if verdict is None:
                verdict = await self._limiting.take(limits, buyer, address)
            told = marks(verdict, limits)
            if verdict.refused is not None:
                answer_refused(proto, verdict, told, request_id, "/v1/buy")
                self._counts.answered("buy", 429, perf_counter() - began)
                self._tally.refused_purchase(sale_id, "too_many_requests")
                return
            reserved = read = None
            if (
                verified is not None
                and route is not None
                and headers.get("content-length") in _SHORT
                and headers.get("content-type") in _JSON_TYPES
            ):
                read = proto()
                soon = self._purchase.reserve_soon(buyer, verified, route, read, _USUAL)
                if soon is not None:
                    reserved = await self._purchase.soon_reserved(*soon)
            if reserved is None:
                asked = await self._body(headers, proto, _decode_buy, _PLAIN_BUY, read=read)
                if not 1 <= asked.quantity <= PER_BUYER_MAX:
                    raise invalid("quantity", f"must be from 1 to {PER_BUYER_MAX}")
                if verified is not None:
                    reserved = await self._purchase.reserve(buyer, verified, asked.quantity)
            if reserved is None:
                outcome = Outcome.BAD_PASS
                proto.response_bytes(
                    403,
                    headers_fast("bad_pass", request_id, told),
                    encode_fast("bad_pass", request_id),
                )
            else:
                outcome = reserved.outcome
                if route is not None and self.room.guards(route):
                    self.room.bought(buyer, route)
                if outcome is Outcome.ACCEPTED:
                    body = self._accepted(reserved)
                    proto.response_bytes(202, _headers(request_id, told), body)
                elif outcome is Outcome.REPLAYED:
                    body = self._replayed(reserved, buyer)
                    proto.response_bytes(202, _headers(request_id, told), body)
                elif outcome is Outcome.SOLD_OUT:
                    head, tail = self._sold_out(till or self._till(reserved.route), now_ms)
                    proto.response_bytes(
                        409,
                        headers_fast("sold_out", request_id, told),
                        f"{head}{request_id}{tail}".encode(),
                    )
                else:
                    route = await self._up_to_date(reserved.route, outcome)
                    problem = self._refusal(outcome, route, reserved.decision.number)
                    _answer_problem(proto, problem, request_id, scope.path, told)
            self._counts.decided(outcome, perf_counter() - began)
            self._tally.decided(sale_id, outcome, began)
        except Exception as error:
            self._tally.refused_purchase(sale_id, of(error).code)
            self._fault(proto, error, request_id, scope.path, told)

    def _accepted(self, reserved: Reserved) -> bytes:
        """`{"order": ..., "receipt": ..., "poll_after_ms": ...}`, as `render_order` would."""
        decision, route = reserved.decision, reserved.route
        head, middle = self._order_head(route, decision.quantity)
        second = decision.number >> 32
        if self._second[0] != second:
            self._second = (second, render_time(number.split(decision.number).minted_at_ms))
        at = self._second[1]
        return (
            f'{{"order":{{"id":"{decision.number}"{head}"{at}"{middle}"{at}"}}]}},'
            f'"receipt":"{self._purchase.receipt(reserved)}",'
            f'"poll_after_ms":{self._poll_after_ms()}}}'
        ).encode()

    def _order_head(self, route: ItemRoute, quantity: int) -> tuple[str, str]:
        """What is the same in every new order of so many units of the item."""
        parts = self._order_heads.get((route.item_id, quantity))
        if parts is None:
            amount = msgspec.json.encode(render_money(route.price.times(quantity))).decode()
            head = (
                f',"sale_id":"{route.sale_id}","item_id":"{route.item_id}","quantity":{quantity},'
                f'"refunded_quantity":0,"amount":{amount},"state":"queued","placed_at":'
            )
            middle = ',"pay_by":null,"payment":{"state":"none"},"history":[{"state":"queued","at":'
            if len(self._order_heads) > 10_000:
                self._order_heads.clear()
            parts = self._order_heads[(route.item_id, quantity)] = (head, middle)
        return parts

    def _replayed(self, reserved: Reserved, buyer: Identity) -> bytes:
        order = reserved.order
        if order is None:
            return self._accepted(reserved)
        del buyer  # the pass is bound to the buyer, and the nonce to the order
        return msgspec.json.encode(
            {
                "order": render_order(order),
                "receipt": self._purchase.receipt(reserved),
                "poll_after_ms": self._poll_after_ms(),
            }
        )

    def _till(self, route: ItemRoute) -> _Till:
        till = self._tills.get(route.item_id)
        if till is None or till.route is not route:
            if len(self._tills) >= TILLS_MAX:
                self._tills.clear()
            limits = self._limiting.of_sale(BUY, route.sale_id, route.policy.limits)
            till = self._tills[route.item_id] = _Till(route, limits)
        return till

    def _sold_out(self, till: _Till, now_ms: int) -> tuple[str, str]:
        """The document around the request id. It changes with what is known of the item, which
        gives it another route, and when nobody may wait any more."""
        if now_ms >= till.sold_out_until_ms:
            route = till.route
            can_wait = now_ms < route.waits_until_ms
            may_return = "true" if self._snapshots.may_return(route.item_id) else "false"
            waitlist = ',"waitlist":true' if can_wait else ""
            members = f',"may_return":{may_return}{waitlist}'
            till.sold_out = around_fast("sold_out", members=members)
            till.sold_out_until_ms = route.waits_until_ms if can_wait else inf
        return till.sold_out

    def _can_wait(self, route: ItemRoute) -> bool:
        return self._now_ms() < route.waits_until_ms

    async def _up_to_date(self, route: ItemRoute, outcome: Outcome) -> ItemRoute:
        """The gate can know of a pause before this process has read its reason."""
        if outcome is Outcome.PAUSED and route.pause_reason is None:
            await self._snapshots.renew(route.sale_id)
            return self._snapshots.item_route(route.item_id) or route
        return route

    def _refusal(self, outcome: Outcome, route: ItemRoute, held: int) -> Problem:
        return for_outcome(
            outcome,
            starts_at=render_time(route.starts_at_ms),
            may_return=self._snapshots.may_return(route.item_id),
            waitlist=self._can_wait(route),
            order_id=str(held) if held else None,
            reason=route.pause_reason,
        )

    # --- POST /v1/sales/{sale}/items/{item}/pass -------------------------------------------

    @sheds(Work.ENTER)
    async def issue_pass(self, scope: Any, proto: HttpProtocol) -> None:
        """A pass for one attempt, or why there is none now."""
        began = perf_counter()
        request_id = request_id_of(scope.headers.get("x-request-id"))
        told: Headers = ()
        sale_id = 0
        try:
            buyer = self._known_buyer(scope) or await self._buyer(scope)
            route = await self._route(scope.path)
            sale_id = route.sale_id
            knocks = (
                self.room.guards(route)
                and self._purchase.closed(route) is None
                and not self.room.is_in(buyer, route)
            )
            limits = self._limiting.of_sale(
                KNOCK if knocks else PASS, route.sale_id, route.policy.limits
            )
            address = self._address(scope)
            verdict = self._limiting.give(limits, buyer, address)
            if verdict is None:
                verdict = await self._limiting.take(limits, buyer, address)
            told = marks(verdict, limits)
            if verdict.refused is not None:
                self._refused_pass(proto, verdict, told, request_id, scope.path, sale_id, began)
                return
            body = await self._body(scope.headers, proto, _decode_pass, _NO_ANSWER, ANSWER_MAX)
            if self.room.guards(route):
                if self._purchase.closed(route) is None:
                    waiting = await self.room.wait(buyer, route, body)
                    if waiting is not None:
                        proto.response_bytes(202, _headers(request_id, told), waiting)
                        self._counts.answered("pass", 202, perf_counter() - began)
                        self._tally.told_to_wait(sale_id)
                        return
                    if knocks:  # it is their turn, so this is about a pass after all
                        limits = self._limiting.of_sale(PASS, sale_id, route.policy.limits)
                        verdict = await self._limiting.take(limits, buyer, address)
                        told = marks(verdict, limits)
                        if verdict.refused is not None:
                            self._refused_pass(
                                proto, verdict, told, request_id, scope.path, sale_id, began
                            )
                            return
            elif not self._entrance.is_open(route.policy) and self._purchase.closed(route) is None:
                await self._entrance.check(buyer, route, body.challenge_id, body.answer)
            admitted = self._purchase.admit(buyer, route)
            if isinstance(admitted, Outcome):
                problem = self._refusal(admitted, route, 0)
                _answer_problem(proto, problem, request_id, scope.path, told)
                self._counts.refused_pass(admitted, perf_counter() - began)
                self._tally.passed(sale_id, admitted)
                return
            answer = (
                f'{{"pass":"{admitted.text}","buy_url":"/v1/buy/{admitted.text}",'
                f'"expires_at":"{self._time_of_expiry(admitted.expires_at_ms)}"}}'
            )
            proto.response_bytes(200, _headers(request_id, told), answer.encode())
            self._counts.passed(perf_counter() - began)
            self._tally.passed(sale_id)
        except Exception as error:
            self._tally.refused_pass(sale_id, of(error).code)
            self._fault(proto, error, request_id, scope.path, told)

    def _refused_pass(
        self,
        proto: HttpProtocol,
        verdict: Verdict,
        told: Headers,
        request_id: str,
        path: str,
        sale_id: int,
        began: float,
    ) -> None:
        answer_refused(proto, verdict, told, request_id, instance_of(path))
        self._counts.answered("pass", 429, perf_counter() - began)
        self._tally.refused_pass(sale_id, "too_many_requests")

    def _time_of_expiry(self, expires_at_ms: int) -> str:
        """Passes of a sale end together, once a second; writing a time costs as much as signing."""
        if self._expiry[0] != expires_at_ms:
            self._expiry = (expires_at_ms, render_time(expires_at_ms))
        return self._expiry[1]

    async def _route(self, path: str) -> ItemRoute:
        """`/v1/sales/{sale}/items/{item}/pass`; raises `NotFound` for anything not on show."""
        parts = path.split("/")
        if len(parts) != 7 or parts[4] != "items":
            raise NotFound()
        sale_id, item_id = _id(parts[3]), _id(parts[5])
        if sale_id is None or item_id is None:
            raise NotFound()
        route = await self._item_route(item_id)
        if route is None or route.sale_id != sale_id:
            raise NotFound()
        return route

    async def _item_route(self, item_id: int) -> ItemRoute | None:
        return self._snapshots.item_route(item_id) or await self._snapshots.load_route(item_id)

    # --- GET /v1/sales/{sale}/challenge ----------------------------------------------------

    @sheds(Work.ENTER)
    async def challenge(self, scope: Any, proto: HttpProtocol) -> None:
        """What to solve before a pass is asked for; 204 where nothing is. `?alternative=true` asks
        for the other way: work for who cannot see, a picture for whose browser cannot work."""
        began = perf_counter()
        request_id = request_id_of(scope.headers.get("x-request-id"))
        told: Headers = ()
        try:
            buyer = self._known_buyer(scope) or await self._buyer(scope)
            sale_id = _id(scope.path[10:-10])
            route = None if sale_id is None else await self._snapshots.sale_route(sale_id)
            if route is None:
                raise NotFound()
            alternative = _wants_alternative(scope.query_string)
            limits = self._limiting.of_sale(CHALLENGE, route.sale_id, route.policy.limits)
            address = self._address(scope)
            verdict = self._limiting.give(limits, buyer, address)
            if verdict is None:
                verdict = await self._limiting.take(limits, buyer, address)
            told = marks(verdict, limits)
            if verdict.refused is not None:
                answer_refused(proto, verdict, told, request_id, instance_of(scope.path))
                status = 429
            elif route.policy.challenge is Challenge.NONE:
                proto.response_empty(204, _headers(request_id, told)[1:])
                status = 204
            else:
                closed = self._purchase.closed_sale(route)
                for_line = False
                if closed is not None and not self.room.may_be_joined(route):
                    for_line = closed is Outcome.PAUSED and self._can_wait(route)
                    if not for_line:
                        raise self._refusal(closed, route, 0)
                await self._entrance.check_guest(buyer, route)
                body = await self._entrance.offer(
                    buyer, route, address, alternative, for_line=for_line
                )
                proto.response_bytes(200, _headers(request_id, told), body)
                status = 200
            self._counts.answered("challenge", status, perf_counter() - began)
        except Exception as error:
            self._fault(proto, error, request_id, scope.path, told)

    # --- GET /v1/orders/{id} ---------------------------------------------------------------

    @sheds(Work.OWN)
    async def order(self, scope: Any, proto: HttpProtocol) -> None:
        """The buyer's order as it is now."""
        began = perf_counter()
        request_id = request_id_of(scope.headers.get("x-request-id"))
        try:
            buyer = self._known_buyer(scope) or await self._buyer(scope)
            wanted = number.parse(scope.path[11:])
            if wanted is None:
                raise NotFound()
            receipt = scope.headers.get("sluice-receipt")
            order = await self._purchase.order(buyer, wanted, receipt)
            proto.response_bytes(200, _headers(request_id), self._order_body(order))
            self._counts.answered("order", 200, perf_counter() - began)
        except Exception as error:
            self._fault(proto, error, request_id, scope.path)

    def _order_body(self, order: Order) -> bytes:
        return msgspec.json.encode({**render_order(order), "poll_after_ms": self._poll_after_ms()})

    # --- GET /v1/sales/{sale} --------------------------------------------------------------

    @sheds(Work.BROWSE)
    async def sale(self, scope: Any, proto: HttpProtocol) -> None:
        """The public snapshot of a sale, from memory."""
        began = perf_counter()
        request_id = request_id_of(scope.headers.get("x-request-id"))
        try:
            sale_id = _id(scope.path[10:])
            shown = None if sale_id is None else await self._snapshots.shown(sale_id)
            if shown is None:
                raise NotFound()
            headers = [
                ("content-type", "application/json"),
                ("cache-control", "public, max-age=1, stale-while-revalidate=5"),
                ("etag", shown.etag),
                *SECURITY_HEADERS,
                ("x-request-id", request_id),
            ]
            if scope.headers.get("if-none-match") == shown.etag:
                proto.response_empty(304, headers[1:])
            else:
                proto.response_bytes(200, headers, shown.body(self._now_ms()))
            self._counts.answered("sale", 200, perf_counter() - began)
            self._tally.viewed(sale_id or 0)
        except Exception as error:
            self._fault(proto, error, request_id, scope.path)

    # --- POST /v1/webhooks/payments/{provider} ---------------------------------------------

    @sheds(Work.OWN)
    async def callback(self, scope: Any, proto: HttpProtocol) -> None:
        """What a payment provider tells us. 200 says that it is in the ledger."""
        began = perf_counter()
        request_id = request_id_of(scope.headers.get("x-request-id"))
        status = 200
        try:
            raw = await self._raw(scope.headers, proto, CALLBACK_BYTES_MAX)
            provider = scope.path[len(_CALLBACKS) :]
            taken = await self._settlement.take(provider, scope.headers, raw)
            self._counts.happened("callbacks", taken)
            thanks = self._settlement.thanks(provider)
            if thanks is None:
                proto.response_bytes(200, _headers(request_id), b'{"taken":%d}' % taken)
            else:
                headers = [("content-type", thanks[0]), *_headers(request_id)[1:]]
                proto.response_bytes(200, headers, thanks[1])
        except Exception as error:
            status = of(error).status
            self._fault(proto, error, request_id, scope.path)
        self._counts.answered(CALLBACK_ROUTE, status, perf_counter() - began, "callback")

    # --- what they share -------------------------------------------------------------------

    def _known_buyer(self, scope: Any) -> Identity | None:
        """Who sends this, where that can be told at once. Raises `Unauthenticated`."""
        token = self._token(scope, scope.headers)
        return self._identities.of_bearer(token, self._now_ms() // 1000)

    async def _buyer(self, scope: Any) -> Identity:
        token = self._token(scope, scope.headers)
        return await self._identities.of_bearer_slow(token, self._now_ms() // 1000)

    def _token(self, scope: Any, headers: Any) -> str:
        bearer: str | None = headers.get("authorization")
        if bearer is not None and bearer[:7].lower() == "bearer ":
            return bearer[7:]
        return self._credentials.token(scope.method, headers, scope.authority)

    async def _body(
        self,
        headers: Any,
        proto: HttpProtocol,
        decode: Any,
        empty: Any,
        bytes_max: int = BODY_MAX,
        read: Any = None,
    ) -> Any:
        """The decoded body; `empty` stands for none. Reads no more than `bytes_max` bytes. `read`
        is a read that has begun."""
        length = headers.get("content-length")
        if length == "0" and read is None:
            return empty  # reading nothing would still put this coroutine to sleep and wake it
        if read is not None or length in _SHORT:
            raw = await self.patience.whole(read or proto())
        else:
            raw = await self._raw(headers, proto, bytes_max)
        if not raw:
            return empty
        content_type = headers.get("content-type")
        if content_type not in _JSON_TYPES and not _is_json(content_type):
            raise Problem("unsupported_media_type")
        if decode is _decode_buy and raw in _USUAL:
            return _PLAIN_BUY
        try:
            return decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid("body", f"cannot be used: {error}") from None

    async def _raw(self, headers: Any, proto: HttpProtocol, bytes_max: int) -> bytes:
        """The body as it came, of `bytes_max` at most."""
        length = headers.get("content-length")
        if length is None:
            return await self.patience.bounded(proto, bytes_max)
        if not (len(length) <= 7 and length.isdigit() and int(length) <= bytes_max):
            raise Problem("too_large", f"The body may have {bytes_max} bytes here.")
        return await self.patience.whole(proto())

    def _address(self, scope: Any) -> str:
        addresses = self._limiting.addresses
        forwarded = scope.headers.get_all("x-forwarded-for") if addresses.trusting else None
        return addresses.of(scope.client, forwarded)

    def _fault(
        self,
        proto: HttpProtocol,
        error: Exception,
        request_id: str,
        path: str,
        told: Headers = (),
    ) -> None:
        problem = of(error)
        self._counts.problem(problem.code, error)
        _answer_problem(proto, problem, request_id, path, told)


def _wants_alternative(query: str) -> bool:
    if not query:
        return False
    given = parse_qs(query, keep_blank_values=True).get("alternative", ["false"])
    if given not in (["true"], ["false"]):
        raise invalid("alternative", "must be true or false")
    return given == ["true"]


def _is_room(path: str) -> bool:
    return path.startswith("/v1/sales/") and path.count("/") == 4


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/json"


def _headers(request_id: str, told: Headers = ()) -> list[tuple[str, str]]:
    return [*_JSON_HEADERS, *told, ("x-request-id", request_id)]


def _answer_problem(
    proto: HttpProtocol, problem: Problem, request_id: str, path: str, told: Headers = ()
) -> None:
    body = problem.encode(request_id, path)
    proto.response_bytes(problem.status, [*problem.header_items(request_id), *told], body)


def _id(text: str) -> int | None:
    if not 1 <= len(text) <= ID_DIGITS_MAX or not text.isascii() or not text.isdigit():
        return None
    return int(text)
