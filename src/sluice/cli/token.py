"""`sluice token`"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from sluice.cli._options import Data, command, read_settings
from sluice.domain.errors import SettingsError

app = command("Print an identity token for a buyer, to try things out.")

TTL_S_MAX = 30 * 86_400


@app.command(
    epilog="A shop signs such tokens itself, with SLUICE_IDENTITY_SECRET (HS256) and the claims "
    'sub, exp and aud = "sluice".'
)
def token(
    buyer: Annotated[str, typer.Argument(metavar="BUYER", help="The buyer's name (sub).")],
    ttl: Annotated[
        int,
        typer.Option(
            "--ttl", metavar="SECONDS", min=1, max=TTL_S_MAX, help="How long it is valid."
        ),
    ] = 86_400,
    data: Data = None,
) -> None:
    """Print an identity token for a buyer, to try things out."""
    settings = read_settings(data, "token")
    if not settings.identity_secret:
        raise SettingsError(
            "There is no identity secret: set SLUICE_IDENTITY_SECRET, or name with --data a "
            "folder on which `sluice up` ran."
        )
    print(sign(buyer, settings.identity_secret, int(time.time()) + ttl))


def sign(buyer: str, secret: bytes, expires_at_s: int) -> str:
    from joserfc import jwt
    from joserfc.jwk import OctKey

    claims = {"sub": buyer, "aud": "sluice", "exp": expires_at_s}
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret))
