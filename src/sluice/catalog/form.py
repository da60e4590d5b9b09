"""Reading an object strictly: fields by name, all faults at once, nothing unknown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from sluice.domain.errors import InvalidFields
from sluice.domain.text import has_control
from sluice.domain.times import YEAR_MAX, YEAR_MIN, ms_of, parse_time

Faults = list[tuple[str, str]]
"""(field, what is wrong with it)."""
Choice = TypeVar("Choice", bound=StrEnum)

_TIME = f"must be a time with an offset from {YEAR_MIN} to {YEAR_MAX}, as 2026-11-11T10:00:00+08:00"


class Form:
    """One object being read. A field at fault reads as its default, so that reading can go on;
    `faults` is shared by the forms of one body and decides at the end.
    """

    def __init__(self, value: object, path: str, faults: Faults) -> None:
        self.path = path
        self.faults = faults
        self._left: dict[str, Any] = {}
        if isinstance(value, Mapping):
            self._left = {str(name): part for name, part in value.items()}
        else:
            faults.append((path, "must be an object"))

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def fault(self, name: str, message: str) -> None:
        self.faults.append((self.at(name), message))

    def has(self, name: str) -> bool:
        """Whether the field is there and not yet taken."""
        return name in self._left

    def done(self) -> None:
        """Refuses whatever nobody asked for."""
        for name in self._left:
            self.fault(name[:80], "is not a known field")

    def raw(self, name: str, *, required: bool = True) -> Any:
        if name not in self._left:
            if required:
                self.fault(name, "is required")
            return None
        return self._left.pop(name)

    def text(self, name: str, longest: int, *, required: bool = True) -> str | None:
        """A string of 1 to `longest` characters, not blank, without control characters."""
        there = self.has(name)
        value = self.raw(name, required=required)
        if not there:
            return None
        if not isinstance(value, str) or not 1 <= len(value) <= longest or not value.strip():
            self.fault(name, f"must be a text of 1 to {longest} characters")
        elif has_control(value):
            self.fault(name, "must not contain control characters")
        else:
            return value
        return None

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int | None:
        """A whole number; required where there is no default."""
        there = self.has(name)
        value = self.raw(name, required=default is None)
        if not there:
            return default
        if type(value) is int and low <= value <= high:
            return value
        self.fault(name, f"must be a whole number from {low} to {high}")
        return default

    def truth(self, name: str, default: bool) -> bool:
        if not self.has(name):
            return default
        value = self.raw(name)
        if isinstance(value, bool):
            return value
        self.fault(name, "must be true or false")
        return default

    def choice(self, name: str, default: Choice) -> Choice:
        if not self.has(name):
            return default
        value = self.raw(name)
        kinds = {kind.value: kind for kind in type(default)}
        if isinstance(value, str) and value in kinds:
            return kinds[value]
        self.fault(name, "must be one of " + ", ".join(kinds))
        return default

    def time(self, name: str) -> int | None:
        """Unix milliseconds of a required time; TOML's own date-times count as well."""
        there = self.has(name)
        value = self.raw(name)
        ms = None
        if isinstance(value, str):
            ms = parse_time(value)
        elif isinstance(value, datetime):
            ms = ms_of(value)
        if there and ms is None:
            self.fault(name, _TIME)
        return ms

    def form(self, name: str) -> Form:
        """The object under `name`; an absent one reads as empty."""
        return Form(self.raw(name) if self.has(name) else {}, self.at(name), self.faults)

    def null(self, name: str) -> bool:
        """Takes the field if it is an explicit null."""
        if self._left.get(name, ...) is not None:
            return False
        del self._left[name]
        return True


def finish(form: Form) -> None:
    """Raises `InvalidFields` with all that is wrong with the body that `form` is the root of."""
    form.done()
    if form.faults:
        raise InvalidFields(form.faults[:FAULTS_MAX])


FAULTS_MAX = 100
"""More faults than this help nobody, and a body can hold very many."""
