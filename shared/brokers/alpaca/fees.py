"""Computes the fee that Alpaca takes for an execution, from side, quantity, cost and tier, in the received asset. Pure.

Orders and fills do not report a fee; Alpaca books it separately at the end of the day. For coins the rate depends on
the tier of the last 30 days' volume. The fee is taken from what is received: the coin when buying, the quote currency
when selling. Stocks have no fee. Source: Alpaca's crypto fee schedule.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from shared.domain.amounts import ZERO
from shared.domain.fill import Side
from shared.domain.symbol import Symbol

_STEP = Decimal("0.000000001")
"""Alpaca rounds to billionths."""


@dataclass(frozen=True, slots=True)
class FeeTier:
    """Fee rates as fractions of the received amount: 0.0025 is 0.25%."""

    maker: Decimal
    taker: Decimal


def _tier(maker: str, taker: str) -> FeeTier:
    return FeeTier(Decimal(maker), Decimal(taker))


TIERS: Final[Mapping[int, FeeTier]] = {
    1: _tier("0.0015", "0.0025"),
    2: _tier("0.0012", "0.0022"),
    3: _tier("0.0010", "0.0020"),
    4: _tier("0.0008", "0.0018"),
    5: _tier("0.0005", "0.0015"),
    6: _tier("0.0002", "0.0013"),
    7: _tier("0.0002", "0.0012"),
    8: _tier("0", "0.0010"),
}
FIRST_TIER: Final = 1


def fee(symbol: Symbol, side: Side, quantity: Decimal, cost: Decimal, rate: Decimal) -> tuple[Decimal, str]:
    """The fee of an execution and its currency. `quantity` is in base, `cost` in quote; a stock's rate is 0."""
    base, quote = symbol.currencies
    received, currency = (quantity, base) if side is Side.BUY else (cost.quantize(_STEP, ROUND_HALF_UP), quote)
    if not rate:
        return ZERO, quote
    return (received * rate).quantize(_STEP, ROUND_HALF_UP), currency
