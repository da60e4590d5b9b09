"""Limits of the framework's routes, declared with the route: `@post("/…", limits=Limits(…))`;
and those of a sale's policy, for what is asked of one sale."""

from __future__ import annotations

from typing import cast

from litestar.handlers import BaseRouteHandler

from sluice.accounts.identity import Identity
from sluice.admission.limits import Verdict
from sluice.admission.sale_limits import Route, RouteLimits
from sluice.catalog.snapshots import ItemRoute
from sluice.domain.sale import Limits
from sluice.web.api.callers import AnyConnection, Callers, where_of
from sluice.web.api.reading import AnyRequest
from sluice.web.limiting import marks, refusal
from sluice.web.parts import Parts

STEPS = Limits(per_buyer_per_minute=120, per_address_per_minute=None)
"""Of what one does about an order of one's own: only against a flood."""
LIMITS = "limits"
"""Under this name a route declares them. Each route has counters of its own."""


async def hold_back(
    connection: AnyConnection, handler: BaseRouteHandler, callers: Callers, parts: Parts
) -> None:
    """Raises `Problem` for whoever asked too often, `Unauthenticated` for nobody in particular."""
    declared = handler.opt.get(LIMITS)
    if not isinstance(declared, Limits):
        return
    limiting = parts.limiting
    address = where_of(connection, parts).address
    limits = limiting.of_sale(Route(str(handler.handler_name)), 0, declared)
    if declared.per_buyer_per_minute is None:
        _let_on(connection, limits, await limiting.take_address(limits, address))
    else:
        buyer = (await callers.caller(cast("AnyRequest", connection))).identity
        _let_on(connection, limits, await _counted(parts, limits, buyer, address))


async def hold_back_in_sale(
    request: AnyRequest, route: Route, item: ItemRoute, buyer: Identity, parts: Parts
) -> None:
    """Raises `Problem` for whoever asked this of the item's sale too often."""
    limits = parts.limiting.of_sale(route, item.sale_id, item.policy.limits)
    address = where_of(request, parts).address
    _let_on(request, limits, await _counted(parts, limits, buyer, address))


async def _counted(parts: Parts, limits: RouteLimits, buyer: Identity, address: str) -> Verdict:
    limiting = parts.limiting
    verdict = limiting.give(limits, buyer, address)
    return await limiting.take(limits, buyer, address) if verdict is None else verdict


def _let_on(connection: AnyConnection, limits: RouteLimits, verdict: Verdict) -> None:
    connection.scope["state"]["told"] = marks(verdict, limits)
    if verdict.refused is not None:
        raise refusal(verdict)
