"""The only place that constructs adapters: from settings to the parts of each process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from sluice import __version__, telemetry
from sluice.accounts.identity import buyer_digest
from sluice.admission.address import Addresses
from sluice.admission.blacklist import Blacklist
from sluice.admission.challenges.artist import Artist
from sluice.admission.challenges.challenges import Challenges
from sluice.admission.challenges.making import Maker
from sluice.admission.challenges.stock import Stock
from sluice.admission.challenges.tokens import Tokens
from sluice.admission.counting import OwnCounters
from sluice.admission.guests import GuestLists
from sluice.admission.limits import Limiter
from sluice.admission.pace import Strain
from sluice.admission.passes import Passes
from sluice.admission.receipts import Receipts
from sluice.admission.share import Share
from sluice.admission.waiting_room import WaitingRooms
from sluice.audit import Auditor
from sluice.batching import Batcher
from sluice.breaker import Breakers
from sluice.cache.beats import Beats
from sluice.cache.blacklist import BlacklistStore
from sluice.cache.challenges import ChallengePool
from sluice.cache.limits import LimitCounters
from sluice.cache.news import News
from sluice.cache.pressure import Pressure
from sluice.cache.server import CacheServer
from sluice.cache.strangers import Strangers
from sluice.cache.tally import TallyBoard
from sluice.cache.waiting_room import RoomCells
from sluice.catalog.snapshots import Snapshots
from sluice.catalog.view import render_order
from sluice.domain.beat import Beat
from sluice.domain.challenge import Shelf, shelves_for
from sluice.domain.errors import SettingsError, Unavailable
from sluice.domain.order import Order
from sluice.domain.sale import Sale
from sluice.flow import Purchase
from sluice.gate import keys, wire
from sluice.gate.client import translated
from sluice.gate.clock import GateClock
from sluice.gate.gate import Gate
from sluice.gate.reservations import Reservations
from sluice.gate.waitlists import Waitlists
from sluice.ledger.ledger import Ledger
from sluice.ledger.records import Recorded
from sluice.operate import Operator
from sluice.payment.caller import Caller
from sluice.payment.port import Provider
from sluice.payment.setup import check as check_payment
from sluice.payment.setup import has_stripe, knobs_of
from sluice.payment.simulator import NAME as SIMULATOR
from sluice.payment.simulator import Simulator
from sluice.pipe.stream import Pipe, RedisLog
from sluice.settings import Settings
from sluice.settlement import Callbacks, Settlement, gather_callbacks
from sluice.waiting import Waiting, entries_of
from sluice.workers import main as worker_main
from sluice.workers.heartbeat import Heartbeat
from sluice.workers.herald import Herald
from sluice.workers.pacer import Pacer
from sluice.workers.releaser import Releaser
from sluice.workers.shard import BLOCK_MS, MANY, Pace, ShardWorker
from sluice.workers.tally import Watchman

if TYPE_CHECKING:
    from sluice.accounts.identities import Identities
    from sluice.web.entry import Entry
    from sluice.web.live.endpoint import Live
    from sluice.web.metrics import Counts
    from sluice.web.server import HttpWorker

READ_BATCH_MAX = 500
CALLBACK_BATCH_MAX = 500
CLOCK_EVERY_S = 1.0
KEYS_EVERY_S = 300.0
STRANGERS_EVERY_S = 5.0
"""A key that the shop took back stops counting within this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What every process has: the stores and what a merchant or operator does with them."""

    settings: Settings
    gate: Gate
    ledger: Ledger
    cache: CacheServer
    operator: Operator
    auditor: Auditor

    async def close(self) -> None:
        await self.cache.close()
        await self.ledger.close()
        await self.gate.close()


def stores(settings: Settings) -> Stores:
    """Nothing connects before it is used."""
    deadline_s = settings.deadline_ms / 1000
    gate = Gate.from_url(settings.gate_url, timeout_s=deadline_s)
    ledger = Ledger.from_url(
        settings.ledger_url, deadline_ms=settings.deadline_ms, clock=gate.time_ms
    )
    cache = CacheServer.from_url(settings.cache_server_url)
    operator = Operator(ledger, gate, cache.announce, settings)
    return Stores(
        settings=settings,
        gate=gate,
        ledger=ledger,
        cache=cache,
        operator=operator,
        auditor=Auditor(ledger, gate, keep_in_step=operator.keep_in_step),
    )


@asynccontextmanager
async def parts(settings: Settings) -> AsyncIterator[Stores]:
    """The stores for one command; closed when it ends."""
    made = stores(settings)
    try:
        yield made
    finally:
        await made.close()


def payment_providers(settings: Settings, ledger: Ledger) -> dict[str, Provider]:
    """By name: the one for new payments, and those that older payments may still be at."""
    providers: dict[str, Provider] = {}
    return_url = settings.payment_return_url or f"{settings.shown_url}/orders/{{order}}"
    if settings.payment_provider == SIMULATOR:
        providers[SIMULATOR] = Simulator(
            ledger,
            keys=settings.callback_keys,
            public_url=settings.shown_url,
            return_url=return_url,
            knobs=knobs_of(settings),
        )
    if has_stripe(settings):
        from sluice.payment.stripe import Stripe  # its library is large, and few need it

        stripe = Stripe(
            settings.stripe_api_key, settings.stripe_webhook_secrets, return_url=return_url
        )
        providers[stripe.name] = stripe
    return providers


def settlement_of(
    settings: Settings,
    ledger: Ledger,
    now_ms: Callable[[], int],
    callbacks: Callbacks | None = None,
) -> Settlement:
    return Settlement(
        ledger=ledger,
        providers=payment_providers(settings, ledger),
        active=settings.payment_provider,
        now_ms=now_ms,
        callbacks=callbacks,
    )


# --- sluice serve ---------------------------------------------------------------------------------


def http_worker(settings: Settings) -> HttpWorker:
    """One HTTP worker. Raises `SettingsError` where it could not sign or recognise anybody."""
    # Here, because the other processes and every command would wait for the framework for nothing.
    from sluice.accounts.admin import AdminTokens
    from sluice.accounts.identities import Identities
    from sluice.web.adapter import Adapter
    from sluice.web.api.app import create_app
    from sluice.web.entrance import Entrance
    from sluice.web.lane import Lane
    from sluice.web.limiting import Limiting
    from sluice.web.metrics import Board, Counts, Rates
    from sluice.web.overload import Door, Letters
    from sluice.web.pace import PollPace
    from sluice.web.pages.site import site
    from sluice.web.parts import Parts
    from sluice.web.server import HttpWorker, every
    from sluice.web.serving import Serving
    from sluice.web.tally import Tally
    from sluice.web.watch import Watch

    if not settings.secret_keys:
        raise SettingsError("Set SLUICE_SECRET_KEYS to one or more keys of 32 bytes or more.")
    check_payment(settings)
    made = stores(settings)
    gate, ledger = made.gate, made.ledger
    gate.breakers = breakers = Breakers()
    ledger.guard(breakers)
    made.cache.guard(breakers)
    deadline_s = settings.deadline_ms / 1000
    clock = GateClock(gate.time_ms)
    limiter = make_limiter(settings, made.cache, clock)
    limiting = Limiting(limiter, Addresses(settings.trusted_proxies))
    strangers = Strangers(made.cache, lambda: limiting.addresses.stranger)
    guests = GuestLists(
        ledger.guest_priorities,
        ledger.has_priorities,
        queue_max=settings.queue_max,
        deadline_s=deadline_s,
    )
    entry = make_entry(settings, ledger, made.cache, clock.now_ms)
    identities = Identities.from_settings(settings, entry.sessions)
    snapshots = Snapshots(ledger, gate.totals, clock.now_ms)
    challenges = make_challenges(settings, made.cache, clock, snapshots)
    entrance = Entrance(challenges, guests, limiter)
    rooms = WaitingRooms(RoomCells(made.cache), queue_max=settings.queue_max, deadline_s=deadline_s)
    reservations = Reservations(
        gate, batch_max=settings.batch_max, queue_max=settings.queue_max, deadline_s=deadline_s
    )
    orders: Batcher[int, Order | None] = Batcher(
        partial(_read_orders, ledger),
        batch_max=READ_BATCH_MAX,
        queue_max=settings.queue_max,
        deadline_s=deadline_s,
    )
    callbacks: Callbacks = Batcher(
        gather_callbacks(ledger),
        batch_max=CALLBACK_BATCH_MAX,
        queue_max=settings.queue_max,
        deadline_s=deadline_s,
        calls_max=1,  # one transaction at a time: what arrives meanwhile is the next
    )
    settlement = settlement_of(settings, ledger, clock.now_ms, callbacks)
    simulator = settlement.provider(SIMULATOR)
    assert simulator is None or isinstance(simulator, Simulator)

    purchase = Purchase(
        passes=Passes(settings.secret_keys),
        receipts=Receipts(settings.secret_keys),
        snapshots=snapshots,
        reservations=reservations,
        gate=gate,
        ledger=ledger,
        orders=orders,
        settlement=settlement,
        now_ms=clock.now_ms,
    )

    waitlists = Waitlists(
        gate, batch_max=settings.batch_max, queue_max=settings.queue_max, deadline_s=deadline_s
    )
    entries = entries_of(ledger, queue_max=settings.queue_max, deadline_s=deadline_s)
    waiting = Waiting(waitlists=waitlists, gate=gate, ledger=ledger, entries=entries)

    async def announce(sale_id: int) -> None:
        """This worker knows before the merchant has the answer; the others are told."""
        with contextlib.suppress(Unavailable):
            await snapshots.renew(sale_id)
        await made.cache.announce(sale_id)

    counts, pace = Counts(), PollPace()
    tally_board = TallyBoard(made.cache)
    tally = Tally(tally_board.add)
    board = Board(Board.folder(settings.run_dir), counts, breakers=breakers)
    live = _live(made, entry, identities, snapshots, waiting, rooms, clock, counts)
    app = create_app(
        Parts(
            settings=settings,
            ledger=ledger,
            gate=gate,
            purchase=purchase,
            waiting=waiting,
            operator=Operator(ledger, gate, announce, settings),
            auditor=made.auditor,
            snapshots=snapshots,
            identities=identities,
            entry=entry,
            admin=AdminTokens(settings),
            cache=made.cache,
            clock=clock,
            board=board,
            counts=counts,
            pace=pace,
            began_to_wait=live.began_to_wait,
            settlement=settlement,
            simulator=simulator,
            limiter=limiter,
            limiting=limiting,
            guests=guests,
            entrance=entrance,
            watch=Watch(
                ledger=ledger,
                gate=gate,
                cache=made.cache,
                board=tally_board,
                auditor=made.auditor,
                now_ms=clock.now_ms,
            ),
            breakers=breakers,
        )
    )

    async def close() -> None:
        await limiter.close()
        await challenges.close()
        await guests.close()
        await rooms.close()
        await entry.close()
        await reservations.close()
        await waitlists.close()
        await orders.close()
        await entries.close()
        await settlement.aclose()
        await tally.tell()  # what was counted since the last time
        await made.close()

    lane = Lane(
        purchase=purchase,
        snapshots=snapshots,
        identities=identities,
        credentials=entry.credentials,
        limiting=limiting,
        entrance=entrance,
        now_ms=clock.now_ms,
        counts=counts,
        tally=tally,
        pace=pace,
        settlement=settlement,
        rooms=rooms,
        guests=guests,
        began_to_wait=live.rooms.began,
    )
    live.rooms.lane = lane.room
    calls = []
    if simulator is not None and settings.own_url:
        calls.append(Caller(simulator, base_url=settings.own_url, now_ms=clock.now_ms).run)
    door = Door(
        counts,
        works=app.works,
        gate_wait_s=reservations.longest_wait_s,
        target_s=settings.queue_target_ms / 1000 or math.inf,
        letters=Letters(settings.own_url) if settings.own_url else None,
    )
    tell = partial(Pressure(made.cache).tell, f"{socket.gethostname()}:{os.getpid()}")
    return HttpWorker(
        lane=lane,
        serving=Serving(site(settings.pages_tokens), counts),
        adapter=Adapter(app),
        board=board,
        live=live,
        door=door,
        prepare=identities.refresh,
        loops=[
            partial(every, CLOCK_EVERY_S, clock.sync, "clock"),
            partial(every, KEYS_EVERY_S, identities.refresh, "identity_keys"),
            snapshots.run,
            partial(made.cache.listen, snapshots.invalidate, live.heard),
            Rates(counts, made.cache.count).run,
            tally.run,
            partial(every, STRANGERS_EVERY_S, strangers.tell, "limits.stranger"),
            lane.patience.run,
            rooms.run,
            *calls,
            limiter.run,
            partial(door.tell_others, tell),
            *([] if door.letters is None else [door.letters.run]),
            challenges.stock.run,
            partial(_follow_sessions, entry, live),
            limiter.blacklist.follow,
            limiter.blacklist.reload_often,
        ],
        close=close,
    )


async def _follow_sessions(entry: Entry, live: Live) -> None:
    """What is remembered of a session that ends goes, and then its live connections."""
    memory, watch = entry.sessions.memory, live.sessions

    def revoked(digest: bytes) -> None:
        memory.revoked(digest)
        watch.revoked(digest)

    def listening(now: bool) -> None:
        memory.listening(now)
        watch.listening(now)

    await entry.follow(revoked, listening)


def _live(
    made: Stores,
    entry: Entry,
    identities: Identities,
    snapshots: Snapshots,
    waiting: Waiting,
    rooms: WaitingRooms,
    clock: GateClock,
    counts: Counts,
) -> Live:
    from sluice.web.api.waiting import render_entry
    from sluice.web.live.endpoint import Live
    from sluice.web.live.orders import OrderFeed
    from sluice.web.live.places import PlaceFeed
    from sluice.web.live.rooms import RoomFeed
    from sluice.web.live.sales import SaleFeed

    return Live(
        identities=identities,
        now_ms=clock.now_ms,
        connections_max=made.settings.live_max,
        sales=SaleFeed(snapshots, clock.now_ms),
        orders=OrderFeed(made.ledger, render_order, clock.now_ms),
        places=PlaceFeed(
            made.gate,
            made.cache,
            snapshots.sold_out_routes,
            snapshots.item_route,
            waiting,
            render_entry,
            clock.now_ms,
        ),
        rooms=RoomFeed(rooms, made.cache, snapshots.sale_routes, clock.now_ms),
        listen_on=made.cache.listen_on,
        counts=counts,
        cookie_of=entry.credentials.socket_token,
        is_alive=entry.sessions.is_alive,
    )


def make_entry(
    settings: Settings, ledger: Ledger, cache: CacheServer, now_ms: Callable[[], int]
) -> Entry:
    """Raises `SettingsError` where codes could not be delivered as it is asked for."""
    from sluice.accounts.codes import Codes
    from sluice.accounts.csrf import Csrf
    from sluice.accounts.limits import AccountLimits
    from sluice.accounts.logins import Logins
    from sluice.accounts.outbound import Outbound
    from sluice.accounts.passwords import Passwords
    from sluice.accounts.sessions import Sessions
    from sluice.cache.codes import CodeCells
    from sluice.cache.inbox import CodeInbox
    from sluice.cache.sessions import SessionCells
    from sluice.delivery.codes import CodeHook
    from sluice.web.credentials import Credentials
    from sluice.web.entry import Entry

    if settings.code_hook_url and not settings.code_hook_keys:
        raise SettingsError("Set SLUICE_CODE_HOOK_SECRET, which signs what the hook is sent.")
    hook = (
        CodeHook(settings.code_hook_url, settings.code_hook_keys)
        if settings.code_hook_url
        else None
    )
    inbox = CodeInbox(cache)
    cells = SessionCells(cache)
    sessions = Sessions(
        cells,
        ttl_s=settings.session_ttl_s,
        now_ms=now_ms,
        queue_max=settings.queue_max,
        deadline_s=settings.deadline_ms / 1000,
    )
    passwords = Passwords(threads=settings.password_threads, queue_max=settings.password_queue_max)
    outbound = Outbound((hook or inbox).deliver)
    csrf = Csrf(settings.secret_keys)
    logins = Logins(
        accounts=ledger,
        sessions=sessions,
        codes=Codes(CodeCells(cache), settings.secret_keys),
        passwords=passwords,
        limits=AccountLimits(LimitCounters(cache), settings),
        sender=outbound,
        phone_country=settings.phone_country,
        now_ms=now_ms,
    )

    async def close() -> None:
        await outbound.close()
        await passwords.close()
        await sessions.close()
        if hook is not None:
            await hook.close()

    return Entry(
        credentials=Credentials(csrf, settings.public_url),
        csrf=csrf,
        sessions=sessions,
        logins=logins,
        inbox=inbox if hook is None else None,
        follow=cells.listen,
        close=close,
    )


def make_limiter(settings: Settings, cache: CacheServer, clock: GateClock) -> Limiter:
    """Its loops must be running for the blacklist to be kept."""
    return Limiter(
        LimitCounters(cache),
        OwnCounters(lambda: int(monotonic() * 1000)),
        Share(settings.workers),
        Blacklist(BlacklistStore(cache), clock.now_ms),
        refusals_max=settings.refusals_max,
        blacklist_s=settings.blacklist_s,
        queue_max=settings.queue_max,
    )


STOCK_UP_MS = 600_000
"""Challenges for a sale are made from so long before its start on."""


def make_challenges(
    settings: Settings, cache: CacheServer, clock: GateClock, snapshots: Snapshots
) -> Challenges:
    """Its stock must be running for challenges to be there."""
    pool = ChallengePool(cache)

    def wanted() -> list[Shelf]:
        policies = snapshots.policies_until(clock.now_ms() + STOCK_UP_MS)
        return shelves_for({policy.challenge for policy in policies})

    return Challenges(
        Tokens(settings.secret_keys),
        Stock(pool, Maker(settings.secret_keys), wanted),
        pool.spend,
        clock.now_ms,
        queue_max=settings.queue_max,
    )


def _artist(made: Stores) -> Artist:
    """Makes challenges ahead of time for the sales that are on or about to begin."""

    async def wanted() -> list[Shelf]:
        now_ms = await made.gate.time_ms()
        sales = await made.ledger.open_sales()
        soon = [sale for sale in sales if sale.room_opens_at_ms < now_ms + STOCK_UP_MS]
        return shelves_for({sale.policy.challenge for sale in soon})

    return Artist(ChallengePool(made.cache), Maker(made.settings.secret_keys, threads=1), wanted)


async def _read_orders(ledger: Ledger, numbers: Sequence[int]) -> list[Order | None]:
    found = await ledger.orders(numbers)
    return [found.get(number) for number in numbers]


class _HttpApp:
    """Granian's target. The worker is made in the process that runs it, when it starts."""

    _worker: HttpWorker | None = None

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        settings = Settings.read()
        telemetry.configure("http", settings.log_level)
        self._worker = http_worker(settings)
        loop.run_until_complete(self._worker.start())
        _spare_the_collector()

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._worker is not None:
            loop.run_until_complete(self._worker.stop())

    def __rsgi__(self, scope: Any, proto: Any) -> Awaitable[None]:
        assert self._worker is not None
        return self._worker(scope, proto)


def _spare_the_collector() -> None:
    """What is loaded now stays, and neither requests nor orders leave cycles: look for them seldom,
    and not in the hundred thousand objects of libraries each time (5–10 % of the hot lane's)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


http_app = _HttpApp()


BACKLOG_PART = 100
"""One part of so many of what may wait for the recorder is enough to let in fewer people."""


def _pacer(made: Stores, owner: str) -> Pacer:
    """Lets people out of the waiting rooms."""
    pressure = Pressure(made.cache)
    backlog_max = max(1, made.settings.backlog_max // BACKLOG_PART)

    async def available(sale: Sale) -> dict[int, int]:
        by_shard: dict[int, list[int]] = {}
        for item in sale.items:
            if item.loaded_epoch is not None:
                by_shard.setdefault(item.shard, []).append(item.id)
        found: dict[int, int] = {}
        for shard, ids in by_shard.items():
            found.update({t.item_id: t.available for t in await made.gate.totals(shard, ids)})
        return found

    async def strain() -> Strain:
        loads = (await pressure.all()).values()
        waits = 0
        for shard, at in (await made.ledger.positions()).items():
            if at.epoch:
                status = await made.gate.status(shard)
                # A shard that is between two epochs lets nobody buy, so it holds nobody up.
                waits += at.behind(status.epoch, status.counter) or 0
        return Strain(
            queue=max((load.queue_ms / load.target_ms for load in loads), default=0.0),
            shed_level=max((load.shed_level for load in loads), default=0.0),
            backlog=waits / backlog_max,
        )

    async def accepted() -> float:
        return (await made.cache.rates()).get("accepted", 0.0)

    async def tell(news: Sequence[News]) -> None:
        if await made.cache.is_listened_to():
            await made.cache.tell(news, None)

    return Pacer(
        owner,
        RoomCells(made.cache),
        sales=made.ledger.open_sales,
        now_ms=made.gate.time_ms,
        available=available,
        strain=strain,
        accepted=accepted,
        tell=tell,
        engage_after_s=made.settings.room_after_s,
    )


# --- sluice work ----------------------------------------------------------------------------------


async def run_work(settings: Settings) -> None:
    """Everything behind `sluice work`, until SIGTERM."""
    # Here, because no other process sends anything.
    from sluice.delivery.sender import Sender
    from sluice.web.metrics import Board, Counts
    from sluice.workers.deliverer import Deliverer

    made = stores(settings)
    ledger, counts = made.ledger, Counts()
    # Reads of the log block on the server, so they have a connection and a patience of their own.
    reader = Gate.from_url(settings.gate_url, timeout_s=(settings.deadline_ms + BLOCK_MS) / 1000)
    owner = settings.worker_name or worker_main.owner_name()
    pace = Pace(
        lease_ms=settings.gate_lease_ms,
        record_max=settings.record_max,
        backlog_max=settings.backlog_max,
        trim_after_s=settings.trim_after_s,
    )

    async def execute(*command: Any) -> Any:
        return await translated(reader.client.execute_command(*command))

    def open_pipe(shard: int, epoch: int, counter: int) -> Pipe:
        return Pipe(RedisLog(execute, keys.stream), wire.unpack_entry, shard, epoch, counter)

    async def released(item_ids: Collection[int]) -> None:
        """Units went back: every process is told at once, and finds out in a moment if it is not
        reached."""
        with contextlib.suppress(Unavailable):
            for sale_id in {s.id for s in (await ledger.sales_of_items([*item_ids])).values()}:
                await made.cache.announce(sale_id)

    def recorded(of_log: Recorded) -> None:
        for event in ("orders", "promoted", "joined", "cancelled", "released"):
            counts.happened(event, getattr(of_log, event))
        if of_log.orders >= MANY:
            deliverer.give_way()
            watchman.give_way()

    def decided() -> None:
        for worker in workers:
            worker.wake()

    workers = [
        ShardWorker(
            shard,
            owner,
            gate=made.gate,
            ledger=ledger,
            open_pipe=open_pipe,
            digest=lambda buyer: buyer_digest(buyer.encode()),
            pace=pace,
            released=released,
            recorded=recorded,
        )
        for shard in range(settings.shards)
    ]
    settlement = settlement_of(settings, ledger, GateClock(made.gate.time_ms).now_ms)
    releaser = Releaser(
        ledger=ledger, settlement=settlement, decided=decided, count=counts.happened
    )
    herald = Herald(owner, ledger, made.cache, lambda buyer: buyer_digest(buyer.encode()))
    pacer = _pacer(made, owner)
    deliverer = Deliverer(ledger, Sender(settings.webhook_networks), counts.happened)
    watchman = Watchman(ledger, TallyBoard(made.cache), made.auditor, counts.happened)
    board = Board(Board.folder(settings.run_dir), counts, "work")
    # What it makes is signed: without the keys the HTTP processes make their own, when asked.
    artists = [_artist(made)] if settings.secret_keys else []
    beside: list[worker_main.Runs] = [releaser, herald, deliverer, pacer, watchman, *artists]
    runs = [type(each).__name__.lower() for each in beside]
    since_ms = int(time() * 1000)

    def look() -> Beat:
        shut = {str(n): worker.shut for n, worker in enumerate(workers) if worker.shut}
        return Beat(owner, runs, shut, __version__, since_ms, 0)

    beside.append(Heartbeat(owner, Beats(made.cache), look))
    _spare_the_collector()
    posting = asyncio.ensure_future(board.run())
    try:
        await worker_main.run(workers, made.operator.keep_in_step, beside)
    finally:
        posting.cancel()
        board.post()
        await settlement.aclose()
        await reader.close()
        await made.close()
