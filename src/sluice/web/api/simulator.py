"""The simulator's pages. They are there only where it is the provider of new payments."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.params import FromPath

from sluice.admission.overload import Work
from sluice.domain.errors import NotFound
from sluice.payment.knobs import read_knobs
from sluice.payment.simulator import CHECKOUT_PATH, ENDS, Simulator
from sluice.web.api.answering import Answer, bytes_answer, json_answer
from sluice.web.api.reading import AnyRequest, read_raw
from sluice.web.overload import SHEDS
from sluice.web.pages import checkout
from sluice.web.parts import AskedParts, Parts
from sluice.web.problems import invalid

BODY_MAX = 4096
_ACTIONS = {f"action={action}": action for action in ENDS}
"""The whole forms that the page can send, and what each of them asks for."""
_HEADERS = {"content-security-policy": checkout.POLICY, "vary": "accept-language"}


class SimulatorPages(Controller):
    path = CHECKOUT_PATH.rstrip("/")
    opt = {SHEDS: Work.OWN}  # noqa: RUF012

    @get("/{reference:str}")
    async def show(
        self, reference: FromPath[str], request: AnyRequest, parts: AskedParts
    ) -> Answer:
        """The checkout page, in English or Chinese."""
        found = await _simulator(parts).checkout(reference)
        page = checkout.render(found, request.headers.get("accept-language", ""))
        return bytes_answer(page, 200, "text/html", _HEADERS)

    @post("/{reference:str}", status_code=200)
    async def settle(
        self, reference: FromPath[str], request: AnyRequest, parts: AskedParts
    ) -> Answer:
        """The page's buttons: `action=pay`, `fail` or `cancel`. Repeated, it changes nothing."""
        form = (await read_raw(request, BODY_MAX)).decode("latin-1")
        action = _ACTIONS.get(form)
        if action is None:
            raise invalid("action", "must be pay, fail or cancel")
        await _simulator(parts).settle(reference, action)
        return bytes_answer(b"", 303, "text/html", {"location": CHECKOUT_PATH + reference})

    @post("/{reference:str}/knobs", status_code=200)
    async def turn(
        self, reference: FromPath[str], request: AnyRequest, parts: AskedParts
    ) -> Answer:
        """What goes wrong with this checkout from now on; what is not named goes right."""
        knobs = read_knobs(await read_raw(request, BODY_MAX) or b"{}")
        await _simulator(parts).turn(reference, knobs)
        return json_answer({"knobs": knobs})


def _simulator(parts: Parts) -> Simulator:
    if parts.simulator is None:
        raise NotFound
    return parts.simulator
