"""Builds the order book around a price, and computes what an order takes from it.

The same price gives the same bid and ask levels. Liquidity is replenished at once: paper followers do not move the
market.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal

from shared.domain.fill import Side
from shared.domain.market_data import BookLevel
from shared.exchange.charges import Executed
from shared.exchange.instruments import PaperInstrument
from shared.exchange.orders import ZERO

LEVELS = 60
HALF_SPREAD = Decimal("0.0001")
_LEVEL_STEP = Decimal("0.00005")
# US dollars on the first level. They grow with the distance from the price.
_LEVEL_COSTS = range(40_000, 160_001)


@dataclass(frozen=True, slots=True)
class SimulatedBook:
    """Both sides, best price first."""

    last: Decimal
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]

    @property
    def best_bid(self) -> Decimal:
        return self.bids[0].price

    @property
    def best_ask(self) -> Decimal:
        return self.asks[0].price


def book_around(instrument: PaperInstrument, price: Decimal) -> SimulatedBook:
    """The book of a pair when its price is `price` (a multiple of the tick, above zero)."""
    sizes = random.Random(f"{instrument.symbol}@{price}")  # noqa: S311 - a paper book, not a secret
    tick, lot = instrument.price_tick, instrument.lot
    step = max(tick, (price * _LEVEL_STEP).quantize(tick))
    half = price * HALF_SPREAD
    best_ask = max((price + half).quantize(tick, ROUND_CEILING), price + tick)
    best_bid = max(min((price - half).quantize(tick, ROUND_FLOOR), price - tick), tick)

    def side(best: Decimal, signed_step: Decimal) -> Iterable[BookLevel]:
        level_price = best
        for number, size in enumerate(sizes.choices(_LEVEL_COSTS, k=LEVELS)):
            if level_price <= 0:
                return
            cost = size * (10 + number) // 10 / instrument.quote_dollars
            yield BookLevel(level_price, max((cost / level_price).quantize(lot, ROUND_DOWN), lot))
            level_price += signed_step

    return SimulatedBook(last=price, bids=tuple(side(best_bid, -step)), asks=tuple(side(best_ask, step)))


def take(
    levels: Iterable[BookLevel], quantity: Decimal, *, up_to: Decimal | None = None, buying: bool
) -> list[tuple[Decimal, Decimal]]:
    """Executions (price, quantity) of an order of `quantity` base currency, walking the levels.

    `up_to` is a limit order's price. Less than `quantity` in all when the levels end.
    """
    taken: list[tuple[Decimal, Decimal]] = []
    for level in levels:
        if quantity <= 0 or (up_to is not None and (level.price > up_to if buying else level.price < up_to)):
            break
        part = min(quantity, level.quantity)
        taken.append((level.price, part))
        quantity -= part
    return taken


def take_for_cost(levels: Iterable[BookLevel], cost: Decimal, lot: Decimal) -> list[tuple[Decimal, Decimal]]:
    """Executions (price, quantity) that spend at most `cost` quote currency, in whole lots."""
    taken: list[tuple[Decimal, Decimal]] = []
    for level in levels:
        part = min((cost / level.price).quantize(lot, ROUND_DOWN), level.quantity)
        if part <= ZERO:
            break
        taken.append((level.price, part))
        cost -= part * level.price
        if part < level.quantity:
            break
    return taken


def executable(
    side: Side,
    book: SimulatedBook,
    instrument: PaperInstrument,
    quantity: Decimal,
    limit_price: Decimal | None,
    *,
    quote_sized: bool = False,
) -> list[Executed]:
    """What the book gives now for `quantity` (quote currency if `quote_sized`), up to the limit price."""
    buying = side is Side.BUY
    levels = book.asks if buying else book.bids
    if quote_sized:
        return take_for_cost(levels, quantity, instrument.lot)
    return take(levels, quantity, up_to=limit_price, buying=buying)
