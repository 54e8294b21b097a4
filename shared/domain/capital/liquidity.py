"""Measures how far an order would move the price, and cuts it to what the order book can take.

Impact = |average fill − best price| / best price, on the side that the order hits. What the book cannot fill counts as
filled at an impact of 100 %. Quantities are base currency.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ONE, ZERO
from shared.domain.capital.arithmetic import HUNDRED, checked, checked_positive, fixed_precision, total
from shared.domain.capital.facts import usable
from shared.domain.fill import Side
from shared.domain.market_data import BookLevel, OrderBook
from shared.domain.symbol import Symbol

MOST_LEVELS: Final = 100
NEAR_LEVELS: Final = 20
"""The levels with which the size of an order is compared."""
TOLERATED_PCT: Final = Decimal("0.2")
HIGH_PCT: Final = Decimal("0.5")
CAUTION_PCT: Final = Decimal(1)
"""An impact above it, before any cut, is reported as CAUTION."""
SLICED_ABOVE: Final = Decimal("0.1")
"""The part of the near levels above which an order is sliced."""
STOCK_VOLUME_PART: Final = Decimal("0.01")


class LiquidityCheck(BaseModel):
    """What the order book leaves of an order."""

    model_config = ConfigDict(frozen=True)

    impact_pct: Decimal
    """Before any cut."""
    factor: Decimal
    """1, 0.6 or 0.3, by that impact."""
    cut_factor: Decimal
    """What the cut to an impact of 0.2 % leaves after the factor; 1 without a cut."""
    quantity: Decimal
    """After factor and cut, not rounded to the lot."""
    final_impact_pct: Decimal
    is_caution: bool
    is_sliced: bool


def hit_levels(book: OrderBook, side: Side) -> tuple[BookLevel, ...]:
    """Return the levels that an order of this side executes against, best price first, at most 100."""
    return usable(book.asks if side is Side.BUY else book.bids, MOST_LEVELS)


def quoted_book(symbol: Symbol, bid: BookLevel, ask: BookLevel, mean_volume: Decimal, at: datetime) -> OrderBook:
    """Return a book for a stock: the quote as its one level, plus 1 % of the mean volume of five minutes.

    `mean_volume`: shares. Raises InvalidAmount for a volume below zero.
    """
    volume = checked("mean_volume", mean_volume, least=0)
    with_volume = [BookLevel(level.price, level.quantity + volume * STOCK_VOLUME_PART) for level in (bid, ask)]
    return OrderBook(symbol=symbol, bids=(with_volume[0],), asks=(with_volume[1],), at=at)


@fixed_precision
def liquidity_check(levels: Sequence[BookLevel], quantity: Decimal) -> LiquidityCheck:
    """Return what these levels leave of an order. Raises InvalidAmount without a level or a quantity above zero."""
    wanted = checked_positive("quantity", quantity)
    before = impact_pct(levels, wanted)
    factor = impact_factor(before)
    reduced = wanted * factor
    largest = reduced if impact_pct(levels, reduced) <= TOLERATED_PCT else largest_within(levels, TOLERATED_PCT)
    allowed = min(reduced, largest)
    return LiquidityCheck(
        impact_pct=before,
        factor=factor,
        cut_factor=ONE if allowed == reduced else allowed / reduced,
        quantity=allowed,
        final_impact_pct=impact_pct(levels, allowed),
        is_caution=before > CAUTION_PCT,
        is_sliced=is_sliced(levels, allowed),
    )


def impact_factor(impact: Decimal) -> Decimal:
    """Return the factor of an impact in percent."""
    if impact > HIGH_PCT:
        return Decimal("0.3")
    return Decimal("0.6") if impact > TOLERATED_PCT else ONE


@fixed_precision
def impact_pct(levels: Sequence[BookLevel], quantity: Decimal) -> Decimal:
    """Return the impact of an order in percent. Raises InvalidAmount without a level or a quantity above zero."""
    left = wanted = checked_positive("quantity", quantity)
    best = _best_price(levels)
    moved = ZERO
    for level in levels:
        filled = min(left, level.quantity)
        moved += filled * abs(level.price - best) / best
        left -= filled
        if left == 0:
            break
    return (moved + left) / wanted * HUNDRED


@fixed_precision
def largest_within(levels: Sequence[BookLevel], most_impact_pct: Decimal) -> Decimal:
    """Return the largest quantity whose impact is not above a percentage (0 or more, below 100)."""
    most = checked("most_impact_pct", most_impact_pct, least=0, most=99) / HUNDRED
    best = _best_price(levels)
    filled = moved = ZERO
    for level in levels:
        distance = abs(level.price - best) / best
        if distance > most:
            room = (most * filled - moved) / (distance - most)
            if room < level.quantity:
                return filled + room
        filled += level.quantity
        moved += level.quantity * distance
    return filled + (most * filled - moved) / (ONE - most)


@fixed_precision
def near_quantity(levels: Sequence[BookLevel]) -> Decimal:
    """Return what the first 20 levels hold together."""
    return total(level.quantity for level in levels[:NEAR_LEVELS])


@fixed_precision
def is_sliced(levels: Sequence[BookLevel], quantity: Decimal) -> bool:
    """Whether an order is too large for one piece: above 10 % of the first 20 levels."""
    return quantity > near_quantity(levels) * SLICED_ABOVE


def _best_price(levels: Sequence[BookLevel]) -> Decimal:
    return checked_positive("the best price of an order book", levels[0].price if levels else ZERO)
