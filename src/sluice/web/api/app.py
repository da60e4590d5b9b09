"""The framework's app, put together from its parts."""

from __future__ import annotations

from typing import Any, cast

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.handlers import BaseRouteHandler
from litestar.routes import HTTPRoute

from sluice.accounts.identity import Identity
from sluice.admission.overload import Work
from sluice.web.adapter import ASGIApp
from sluice.web.api.accounts import Accounts
from sluice.web.api.aftersales import Aftersales
from sluice.web.api.buying import Buying
from sluice.web.api.callers import AnyConnection, AskedCaller, BeyondTheirRole, Caller, Callers
from sluice.web.api.edge import Edge
from sluice.web.api.faults import Faults
from sluice.web.api.health import Health
from sluice.web.api.house import House
from sluice.web.api.invitations import Invitations
from sluice.web.api.inviting import Inviting
from sluice.web.api.keeping_out import KeepingOut
from sluice.web.api.keys import Keys
from sluice.web.api.limited import hold_back
from sluice.web.api.orders_desk import OrdersDesk
from sluice.web.api.oversight import Oversight
from sluice.web.api.payments import Payments
from sluice.web.api.people import People
from sluice.web.api.reading import AnyRequest
from sluice.web.api.recent import RecentPages
from sluice.web.api.selling import Selling
from sluice.web.api.simulator import SimulatorPages
from sluice.web.api.trail import Trail, note, parts_for
from sluice.web.api.waiting import Waiting
from sluice.web.api.waiting_room import Pacing
from sluice.web.api.watching import Watching
from sluice.web.api.webhooks import DeliveryLog, Webhooks
from sluice.web.openapi import document
from sluice.web.overload import SHEDS, WorkTable
from sluice.web.parts import Parts
from sluice.web.routes import Routes


def create_app(parts: Parts) -> Edge:
    """An ASGI app for everything that is not in the hot lane."""
    routes = Routes(document()["paths"])
    app = litestar_app(parts, routes)
    return Edge(cast("ASGIApp", app), routes, parts.counts, works_of(app))


def works_of(app: Litestar) -> WorkTable:
    """What kind of work each route declares to be."""
    return WorkTable(
        (method, route.path_format, handler.opt.get(SHEDS, Work.BROWSE))
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
    )


def litestar_app(parts: Parts, routes: Routes) -> Litestar:
    """The framework's own app, without the layer around it."""
    callers = Callers(parts)
    faults = Faults(routes)
    recent = RecentPages(parts.snapshots.page)

    # Functions, not methods: the framework copies what it is given, and would copy every part.
    async def caller(request: AnyRequest) -> Caller:
        return await callers.caller(request)

    async def buyer(caller: AskedCaller) -> Identity:
        return caller.identity

    async def admit(connection: AnyConnection, handler: BaseRouteHandler) -> None:
        try:
            actor = await callers.admit(connection, handler)
        except BeyondTheirRole as refused:
            await note(connection, refused.actor, parts)
            raise
        await note(connection, actor, parts)

    async def held_back(connection: AnyConnection, handler: BaseRouteHandler) -> None:
        await hold_back(connection, handler, callers, parts)

    async def noted_parts(request: AnyRequest) -> Parts:
        return parts_for(request, parts)

    def trail(app: Any) -> Any:
        return Trail(app, parts)

    handlers: list[Any] = [
        House,
        Buying,
        Payments,
        SimulatorPages,
        Waiting,
        Accounts,
        Invitations,
        Router(
            "/",
            route_handlers=[
                Selling,
                Inviting,
                Oversight,
                Watching,
                OrdersDesk,
                Health,
                Keys,
                Pacing,
                Aftersales,
                Webhooks,
                DeliveryLog,
                People,
                KeepingOut,
            ],
            guards=[admit],
            middleware=[trail],
            dependencies={"parts": Provide(noted_parts)},
            opt={SHEDS: Work.ALWAYS},
        ),
    ]
    return Litestar(
        handlers,
        guards=[held_back],
        dependencies={
            "parts": Provide(lambda: parts, sync_to_thread=False),
            "recent": Provide(lambda: recent, sync_to_thread=False),
            "caller": Provide(caller),
            "buyer": Provide(buyer),
        },
        exception_handlers={Exception: faults.answer},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=None,
    )
