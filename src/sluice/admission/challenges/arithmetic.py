"""The arithmetic picture (数学公式验证码): a small sum, drawn so that a person reads it."""

from __future__ import annotations

import secrets
from base64 import b64encode
from io import BytesIO
from typing import Any

from captcha.image import ImageCaptcha, random_color

from sluice.domain.challenge import Made

SIZE = (220, 72)
COLORS = 24
"""In the picture: a palette halves its bytes, and the eye does not miss them."""
_FONT_SIZES = (40, 44, 48)


class Drawer:
    """Not shared between threads: fonts are loaded once for each."""

    def __init__(self) -> None:
        self._captcha = ImageCaptcha(*SIZE, font_sizes=_FONT_SIZES)
        # Turned further, a plus cannot be told from a times.
        self._captcha.character_rotate = (-18, 18)

    def draw(self) -> Made:
        text, answer = _sum()
        red, green, blue, *_ = random_color(10, 140)
        image = self._captcha.generate_image(
            text, bg_color=random_color(232, 255), fg_color=(red, green, blue, 240)
        )
        return Made(answer, b'"image":"' + data_uri(image.quantize(COLORS), "PNG") + b'"')


def data_uri(image: Any, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    image.save(out, format=kind, optimize=True, **options)
    return b"data:image/%b;base64,%b" % (kind.lower().encode(), b64encode(out.getvalue()))


def _sum() -> tuple[str, int]:
    """Such as ("7×8+5=?", 61); from 2 to 181. A guess is hardly ever right, and each one costs a
    challenge."""
    a, b, c = (secrets.randbelow(9) + 1 for _ in range(3))
    if secrets.randbelow(2):
        return f"{a}×{b}+{c}=?", a * b + c
    tens = secrets.randbelow(80) + 20
    if secrets.randbelow(2):
        return f"{tens}+{a}×{b}=?", tens + a * b
    return f"{tens + 81}-{a}×{b}=?", tens + 81 - a * b
