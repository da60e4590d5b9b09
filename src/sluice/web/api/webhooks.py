"""Webhooks to the merchant: endpoints and their secrets, the delivery log, and sending again."""

from __future__ import annotations

import secrets

from litestar import Controller, delete, get, patch, post
from litestar.params import FromPath

from sluice.catalog.view import Json
from sluice.delivery.schedule import GIVE_UP_AFTER_MS
from sluice.domain.signature import KEY_BYTES, secret_of
from sluice.domain.times import render_time
from sluice.domain.webhook import (
    Delivery,
    DeliveryState,
    Endpoint,
    id_in,
    subject_of_order,
)
from sluice.web.api.answering import Answer, bytes_answer, json_answer, page_answer
from sluice.web.api.callers import ADMIN_ACTOR, FOR_MERCHANTS
from sluice.web.api.commands import done_once, repeatable
from sluice.web.api.reading import (
    AnyRequest,
    query_id,
    read_body,
    read_id,
    read_nothing,
    read_once,
    read_page,
    read_query,
)
from sluice.web.api.webhook_forms import (
    parse_endpoint,
    parse_endpoint_change,
    parse_rotation,
    parse_since,
)
from sluice.web.parts import AskedParts
from sluice.web.problems import invalid


class Webhooks(Controller):
    path = "/v1/admin/webhooks"
    opt = FOR_MERCHANTS

    @get()
    async def list(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """The oldest first. There are few, so a page is cut from all of them."""
        page = read_page(read_query(request))
        found = [each for each in await parts.ledger.endpoints() if each.id > (page.after or 0)]
        return page_answer(found[: page.limit + 1], page, _shown, lambda endpoint: endpoint.id)

    @post()
    async def add(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """With its secret, which is not shown again."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        new = parse_endpoint(body.value, parts.settings.webhook_networks)
        return await done_once(
            key,
            lambda once: parts.ledger.add_endpoint(
                url=new.url,
                description=new.description,
                events=new.events,
                secret=_new_secret(),
                once=once,
            ),
            _with_secret,
            status=201,
        )

    @get("/{endpoint:str}")
    async def show(self, endpoint: FromPath[str], parts: AskedParts) -> Answer:
        return json_answer(_shown(await parts.ledger.endpoint(read_id(endpoint))))

    @patch("/{endpoint:str}")
    async def change(
        self, endpoint: FromPath[str], request: AnyRequest, parts: AskedParts
    ) -> Answer:
        """What the body names is changed."""
        body = await read_body(request)
        change = parse_endpoint_change(body.value, parts.settings.webhook_networks)
        return json_answer(_shown(await parts.ledger.change_endpoint(read_id(endpoint), change)))

    @delete("/{endpoint:str}", status_code=200)
    async def remove(self, endpoint: FromPath[str], parts: AskedParts) -> Answer:
        await parts.ledger.delete_endpoint(read_id(endpoint))
        return bytes_answer(b"", 204, "application/json")

    @post("/{endpoint:str}/secret", status_code=200)
    async def rotate(
        self, endpoint: FromPath[str], request: AnyRequest, parts: AskedParts
    ) -> Answer:
        """A new secret; the one before it signs as well for a while."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        keep_old_ms = parse_rotation(body.value)
        return await done_once(
            key,
            lambda once: parts.ledger.rotate_secret(
                read_id(endpoint), _new_secret(), keep_old_ms, once
            ),
            _with_secret,
            status=200,
        )

    @post("/{endpoint:str}/test", status_code=202)
    async def test(self, endpoint: FromPath[str], request: AnyRequest, parts: AskedParts) -> Answer:
        """What comes of it stands in the delivery log."""
        key = read_once(request, ADMIN_ACTOR, await read_nothing(request), required=False)
        return await done_once(
            key,
            lambda once: parts.ledger.add_test(read_id(endpoint), GIVE_UP_AFTER_MS, once),
            _shown_delivery,
            status=202,
        )

    @post("/{endpoint:str}/replay", status_code=200)
    async def replay(
        self, endpoint: FromPath[str], request: AnyRequest, parts: AskedParts
    ) -> Answer:
        """All that failed since a time is sent again."""
        body = await read_body(request)
        key = read_once(request, ADMIN_ACTOR, body, required=False)
        since_ms = parse_since(body.value)
        return await repeatable(
            parts.ledger,
            key,
            lambda: parts.ledger.replay_failed(read_id(endpoint), since_ms, GIVE_UP_AFTER_MS),
            lambda count: {"replayed": count},
        )


class DeliveryLog(Controller):
    path = "/v1/admin/deliveries"
    opt = FOR_MERCHANTS

    @get()
    async def list(self, request: AnyRequest, parts: AskedParts) -> Answer:
        """Newest first; `endpoint`, `state` and `order` narrow it down."""
        query = read_query(request)
        page = read_page(query)
        order = query_id(query, "order")
        found = await parts.ledger.deliveries(
            page.limit + 1,
            endpoint_id=query_id(query, "endpoint"),
            state=_state(query.get("state")),
            subject=None if order is None else subject_of_order(order),
            before_id=page.after,
        )
        return page_answer(found, page, _shown_delivery, lambda delivery: delivery.id)

    @get("/{delivery:str}")
    async def show(self, delivery: FromPath[str], parts: AskedParts) -> Answer:
        return json_answer(_shown_delivery(await parts.ledger.delivery(read_id(delivery))))

    @post("/{delivery:str}/replay", status_code=200)
    async def replay(
        self, delivery: FromPath[str], request: AnyRequest, parts: AskedParts
    ) -> Answer:
        """Sent again, whatever became of it."""
        key = read_once(request, ADMIN_ACTOR, await read_nothing(request), required=False)
        return await done_once(
            key,
            lambda once: parts.ledger.replay_delivery(read_id(delivery), GIVE_UP_AFTER_MS, once),
            _shown_delivery,
            status=200,
        )


def _new_secret() -> str:
    return secret_of(secrets.token_bytes(KEY_BYTES))


def _state(text: str | None) -> DeliveryState | None:
    if text is None:
        return None
    if text not in set(DeliveryState):
        raise invalid("state", "must be one of " + ", ".join(DeliveryState))
    return DeliveryState(text)


def _time(ms: int | None) -> str | None:
    return None if ms is None else render_time(ms)


def _shown(endpoint: Endpoint) -> Json:
    return {
        "id": str(endpoint.id),
        "url": endpoint.url,
        "description": endpoint.description,
        "events": list(endpoint.events),
        "state": endpoint.state.value,
        "off_reason": endpoint.off_reason,
        "failing_since": _time(endpoint.failing_since_ms),
        "delivered": endpoint.delivered,
        "failed": endpoint.failed,
        "old_secret_until": _time(endpoint.old_secret_until_ms),
        "created_at": render_time(endpoint.created_at_ms),
    }


def _with_secret(endpoint: Endpoint) -> Json:
    return {**_shown(endpoint), "secret": endpoint.secret}


def _shown_delivery(delivery: Delivery) -> Json:
    kind = delivery.subject.partition(":")[0]
    return {
        "id": str(delivery.id),
        "endpoint_id": str(delivery.endpoint_id),
        "webhook_id": delivery.uid,
        "type": delivery.type,
        "order_id": str(id_in(delivery.subject)) if kind == "order" else None,
        "sale_id": str(id_in(delivery.subject)) if kind == "sale" else None,
        "occurred_at": render_time(delivery.occurred_at_ms),
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "last_attempt_at": _time(delivery.attempted_at_ms),
        "response_status": delivery.status,
        "error": delivery.error,
        "next_attempt_at": _time(delivery.due_at_ms),
        "created_at": render_time(delivery.created_at_ms),
        "give_up_at": render_time(delivery.give_up_at_ms),
    }
