"""The slider: a piece was cut out of a picture; how far from the left does it belong?"""

from __future__ import annotations

import secrets

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from sluice.admission.challenges.arithmetic import data_uri
from sluice.domain.challenge import Made

WIDTH, HEIGHT = 320, 160
PIECE = 52
_KNOB = 9
_SHAPES = 26
_EDGE = 8


class Drawer:
    def __init__(self) -> None:
        self._piece = _piece_mask()

    def draw(self) -> Made:
        picture = _scene()
        # Not near the left edge, where the piece waits.
        x = _between(PIECE + 30, WIDTH - PIECE - _EDGE)
        y = _between(_EDGE, HEIGHT - PIECE - _EDGE)
        piece = picture.crop((x, y, x + PIECE, y + PIECE)).convert("RGBA")
        piece.putalpha(self._piece)
        _outline(piece, self._piece)
        self._cut(picture, x, y, 0.42)
        # A second, fainter hole: looking for the darkest edge alone finds either.
        self._cut(picture, *_elsewhere(x, y), 0.55)
        shown = b'"image":"%b","piece":{"image":"%b","y":%d,"width":%d,"height":%d},"width":%d' % (
            data_uri(picture, "JPEG", quality=62),
            data_uri(piece.quantize(64, method=Image.Quantize.FASTOCTREE), "PNG"),
            y,
            PIECE,
            PIECE,
            WIDTH,
        )
        return Made(x, shown)

    def _cut(self, picture: Image.Image, x: int, y: int, brightness: float) -> None:
        hole = picture.crop((x, y, x + PIECE, y + PIECE))
        dark = ImageEnhance.Brightness(hole).enhance(brightness)
        picture.paste(dark, (x, y), self._piece)


def _between(low: int, high: int) -> int:
    return low + secrets.randbelow(high - low + 1)


def _elsewhere(x: int, y: int) -> tuple[int, int]:
    """A place whose hole does not touch that at (x, y)."""
    while True:
        other = _between(_EDGE, WIDTH - PIECE - _EDGE)
        if abs(other - x) > PIECE:
            return other, _between(_EDGE, HEIGHT - PIECE - _EDGE) if y else _EDGE


def _color() -> tuple[int, int, int]:
    return (_between(30, 235), _between(30, 235), _between(30, 235))


def _scene() -> Image.Image:
    """A blurred heap of shapes over a gradient: edges everywhere, nothing to recognise."""
    picture = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    scene = Image.merge("RGB", [ImageChops.offset(picture, _between(0, WIDTH)) for _ in range(3)])
    draw = ImageDraw.Draw(scene)
    for _ in range(_SHAPES):
        left, top = _between(-40, WIDTH), _between(-40, HEIGHT)
        box = (left, top, left + _between(15, 110), top + _between(15, 90))
        (draw.ellipse if secrets.randbelow(2) else draw.rectangle)(box, fill=_color())
    scene = scene.filter(ImageFilter.GaussianBlur(1.4))
    noise = Image.effect_noise((WIDTH, HEIGHT), 26).convert("RGB")
    return Image.blend(scene, noise, 0.14)


def _piece_mask() -> Image.Image:
    """A jigsaw piece: a square with a knob on top and a bay at the right."""
    mask = Image.new("L", (PIECE, PIECE), 0)
    draw = ImageDraw.Draw(mask)
    draw.rectangle((0, _KNOB, PIECE - _KNOB, PIECE), fill=255)
    middle = (PIECE - _KNOB) // 2
    draw.ellipse((middle - _KNOB, 0, middle + _KNOB, 2 * _KNOB), fill=255)
    centre = PIECE - _KNOB, _KNOB + (PIECE - _KNOB) // 2
    draw.ellipse(
        (centre[0] - _KNOB, centre[1] - _KNOB, centre[0] + _KNOB, centre[1] + _KNOB), fill=0
    )
    return mask


def _outline(piece: Image.Image, mask: Image.Image) -> None:
    edge = mask.filter(ImageFilter.FIND_EDGES)
    piece.paste((255, 255, 255, 220), (0, 0), edge)
