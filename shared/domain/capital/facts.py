"""Defines what the capital rules must know about an account and a market.

The callers read brokers, Redis and PostgreSQL and fill these models. Money and prices are US dollars, quantities are
base currency, percentages are 0 to 100. A quantity below zero is a short position. Each model raises ValueError for a
number that is NaN, infinite or out of its range.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from shared.domain.amounts import ZERO, Instant
from shared.domain.capital.arithmetic import (
    LARGEST,
    SMALLEST,
    NonNegative,
    Percent,
    Positive,
    Signed,
    fixed_precision,
    percent_of,
    total,
)
from shared.domain.fill import Side
from shared.domain.instrument import Instrument
from shared.domain.market_data import BookLevel, OrderBook

ACCOUNT_MAX_AGE: Final = timedelta(hours=1)
"""An older reading of an account allows no entry."""
MARKET_MAX_AGE: Final = timedelta(seconds=60)
"""An older order book counts as missing."""


def _has_lot(instrument: Instrument) -> Instrument:
    if instrument.lot <= 0 or instrument.price_tick <= 0:
        raise ValueError(f"lot {instrument.lot} and price tick {instrument.price_tick} must both be above 0")
    return instrument


Tradable = Annotated[Instrument, AfterValidator(_has_lot)]
"""An instrument whose quantities and prices can be rounded."""


class HeldPosition(BaseModel):
    """A position that an account holds, at the market price."""

    model_config = ConfigDict(frozen=True)

    instrument: Tradable
    quantity: Signed
    price: Positive | None
    """None: the broker gives no price, so the position adds nothing to the sums."""
    entry_price: Positive | None = None
    """Average price per unit, without fees. None: unknown, because nija did not open the position."""
    opened_by_nija: bool = False
    """Automatic action touches only these positions."""
    score: Percent | None = None
    """The strategy's present score, 0 to 100. None: the strategy has not computed one."""

    @property
    @fixed_precision
    def value(self) -> Decimal:
        """Market value, above zero for a short position too."""
        return ZERO if self.price is None else abs(self.quantity) * self.price

    @property
    @fixed_precision
    def unrealized(self) -> Decimal:
        """Profit at the market price; 0 when the price or the entry price is unknown."""
        if self.price is None or self.entry_price is None:
            return ZERO
        return self.quantity * (self.price - self.entry_price)

    @property
    @fixed_precision
    def unrealized_pct(self) -> Decimal | None:
        """Profit in percent of what the position cost; None when it is unknown."""
        if self.price is None or self.entry_price is None:
            return None
        change = self.price - self.entry_price
        return (change if self.quantity >= 0 else -change) / self.entry_price * 100

    @property
    def closing_side(self) -> Side:
        return Side.SELL if self.quantity > 0 else Side.BUY


class MarginFacts(BaseModel):
    """What a margin account reports on top of its equity."""

    model_config = ConfigDict(frozen=True)

    wallet: Signed
    """The balance without unrealized profit."""
    used: NonNegative
    """The part of the wallet that open positions bind."""
    most_leverage: Positive
    """What the account can do, for example 2 at Alpaca."""


class AccountFacts(BaseModel):
    """An account at one reading. Equity may be zero or below: the gate then rejects every entry."""

    model_config = ConfigDict(frozen=True)

    equity: Signed
    """Cash + value of positions."""
    free_cash: Signed
    """Cash that no open order holds."""
    margin: MarginFacts | None = None
    """None: a spot account."""
    positions: tuple[HeldPosition, ...] = ()
    read_at: Instant

    @property
    def own_positions(self) -> tuple[HeldPosition, ...]:
        """The positions that nija opened. Dust without quantity is none."""
        return tuple(each for each in self.positions if each.opened_by_nija and each.quantity)

    @property
    @fixed_precision
    def exposure(self) -> Decimal:
        """The market value of the positions that nija opened."""
        return total(each.value for each in self.own_positions)

    @property
    @fixed_precision
    def margin_used_pct(self) -> Decimal:
        """Used margin in percent of the wallet; 0 on a spot account."""
        return ZERO if self.margin is None else percent_of(self.margin.used, self.margin.wallet)

    @property
    @fixed_precision
    def margin_free_pct(self) -> Decimal:
        """What is left for new positions: free margin, or free cash in percent of equity on a spot account."""
        if self.margin is None:
            return max(ZERO, percent_of(self.free_cash, self.equity)) if self.equity > 0 else ZERO
        return max(ZERO, 100 - self.margin_used_pct)

    def is_stale(self, now: datetime) -> bool:
        """Whether the reading is too old for an entry."""
        return now - self.read_at > ACCOUNT_MAX_AGE


class MarketFacts(BaseModel):
    """What is known about the market of one symbol."""

    model_config = ConfigDict(frozen=True)

    book: OrderBook | None
    """Up to 100 levels of each side. A stock has no book: use `liquidity.quoted_book`."""
    atr_pct: NonNegative | None
    """ATR14 of 4-hour candles in percent of the last close."""

    def missing(self, now: datetime) -> str | None:
        """Return what is missing or too old, as the end of a sentence; None if all is there."""
        if self.atr_pct is None:
            return "no ATR of 4-hour candles"
        if self.book is None:
            return "no order book"
        if not usable(self.book.bids, 1) or not usable(self.book.asks, 1):
            return "an order book with an empty side"
        if now - self.book.at > MARKET_MAX_AGE:
            return f"an order book that is {(now - self.book.at).total_seconds():.0f} s old"
        return None


class ClosedTrade(BaseModel):
    """A position of the account that was closed, with the result after fees."""

    model_config = ConfigDict(frozen=True)

    profit: Signed
    closed_at: Instant


class RequestedOdds(BaseModel):
    """Win rate and averages that a request names. The averages belong together."""

    model_config = ConfigDict(frozen=True)

    win_rate: NonNegative | None = None
    average_win: NonNegative | None = None
    average_loss: NonNegative | None = None
    """The size of a loss, as a number above zero."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.win_rate is not None and self.win_rate > 1:
            raise ValueError(f"a win rate is {self.win_rate}; it must be from 0 to 1")
        if (self.average_win is None) != (self.average_loss is None):
            raise ValueError("an average win and an average loss must be given together")
        return self


def usable(levels: Iterable[BookLevel], most: int) -> tuple[BookLevel, ...]:
    """Return the first levels that can be traded, at most `most`: with a price and a quantity above zero."""
    found = (level for level in levels if SMALLEST <= level.price <= LARGEST and SMALLEST <= level.quantity <= LARGEST)
    return tuple(islice(found, most))
