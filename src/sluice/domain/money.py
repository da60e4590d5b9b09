"""Money: whole minor units and a currency. A decimal string at the edge, never a float."""

from __future__ import annotations

from dataclasses import dataclass

from sluice.domain.errors import Invalid

MINOR_MAX = 10**15
"""More than any price or order; sums over a sale stay far below 2**63."""

_WITHOUT_DECIMALS = frozenset(
    [
        "BIF",
        "CLP",
        "DJF",
        "GNF",
        "ISK",
        "JPY",
        "KMF",
        "KRW",
        "PYG",
        "RWF",
        "UGX",
        "UYI",
        "VND",
        "VUV",
        "XAF",
        "XOF",
        "XPF",
    ]
)
_WITH_THREE_DECIMALS = frozenset(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"])


def decimals_of(currency: str) -> int:
    """How many decimals the currency's minor unit has (ISO 4217)."""
    if currency in _WITHOUT_DECIMALS:
        return 0
    return 3 if currency in _WITH_THREE_DECIMALS else 2


@dataclass(frozen=True, slots=True)
class Money:
    minor: int
    currency: str

    @classmethod
    def parse(cls, amount: str, currency: str, field: str = "price") -> Money:
        """`"9.90", "CNY"` → 990 minor units. Raises `Invalid` for all but a plain decimal."""
        if not (
            len(currency) == 3 and currency.isascii() and currency.isalpha() and currency.isupper()
        ):
            raise Invalid(f"{field}.currency", "must be three capital letters, such as CNY")
        decimals = decimals_of(currency)
        whole, dot, fraction = amount.partition(".")
        plain = (whole + fraction).isascii() and whole.isdigit() and (not dot or fraction.isdigit())
        if not plain or len(whole) > len(str(MINOR_MAX)) or len(fraction) > decimals:
            raise Invalid(
                f"{field}.amount", f"must be a decimal string with at most {decimals} decimals"
            )
        minor = int(whole) * 10**decimals + int(fraction.ljust(decimals, "0") or "0")
        if minor > MINOR_MAX:
            raise Invalid(f"{field}.amount", "is too large")
        return cls(minor, currency)

    @property
    def amount(self) -> str:
        """The decimal string: 990 CNY → `"9.90"`."""
        decimals = decimals_of(self.currency)
        if decimals == 0:
            return str(self.minor)
        whole, fraction = divmod(self.minor, 10**decimals)
        return f"{whole}.{fraction:0{decimals}d}"

    def times(self, quantity: int) -> Money:
        return Money(self.minor * quantity, self.currency)
