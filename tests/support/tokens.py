"""Identity tokens as a shop would sign them."""

from __future__ import annotations

import time

from joserfc import jwt
from joserfc.jwk import OctKey


def identity_token(secret: bytes, buyer: str, *, ttl_s: int = 3600) -> str:
    claims = {"sub": buyer, "aud": "sluice", "exp": int(time.time()) + ttl_s}
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(secret))
