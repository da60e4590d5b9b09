"""Whether an answer is right. What cannot be read is wrong, never an error."""

from __future__ import annotations

from sluice.domain.sale import Challenge

ANSWER_MAX = 3000
"""Characters; a widget's proof of work has about 800."""
SLIDER_TOLERANCE = 5
"""Pixels to either side that count as right."""
_DIGITS_MAX = 4


def right(kind: Challenge, answer: str, expected: int) -> bool:
    if kind is Challenge.PROOF_OF_WORK:
        from sluice.admission.challenges.work import answer_of

        return answer_of(answer.strip()) == expected
    number = _number(answer)
    if number is None:
        return False
    if kind is Challenge.SLIDER:
        return abs(number - expected) <= SLIDER_TOLERANCE
    return number == expected


def _number(text: str) -> int | None:
    """A small whole number, in digits of any script: keyboards differ."""
    text = text.strip()
    if not 1 <= len(text) <= _DIGITS_MAX or not text.isdecimal():
        return None
    return int(text)
