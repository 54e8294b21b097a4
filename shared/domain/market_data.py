"""Defines candles, order books and last prices, as the strategy and the liquidity checks read them.

Prices are in quote currency, quantities and volumes in base currency. All times are aware and in UTC.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, model_validator

from shared.domain.amounts import Amount, Instant
from shared.domain.symbol import Symbol

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class Interval(StrEnum):
    """How long a candle lasts."""

    length: timedelta

    ONE_MINUTE = "1m"
    FIVE_MINUTES = "5m"
    FIFTEEN_MINUTES = "15m"
    THIRTY_MINUTES = "30m"
    ONE_HOUR = "1h"
    TWO_HOURS = "2h"
    FOUR_HOURS = "4h"
    SIX_HOURS = "6h"
    TWELVE_HOURS = "12h"
    ONE_DAY = "1d"

    def __init__(self, text: str) -> None:
        # An attribute and no property: a backtest reads it several times for each candle.
        self.length = int(text[:-1]) * _UNITS[text[-1]]


class Candle(BaseModel):
    """The trades of one interval. Raises ValueError when low and high do not enclose open and close."""

    model_config = ConfigDict(frozen=True)

    opened_at: Instant
    interval: Interval
    open: Amount
    high: Amount
    low: Amount
    close: Amount
    base_volume: Amount
    """Base currency that was traded: coins, or shares of a stock."""
    is_closed: bool
    """Whether the interval is over. The values of a candle that is not closed still change."""

    @property
    def closes_at(self) -> datetime:
        return self.opened_at + self.interval.length

    @model_validator(mode="after")
    def _encloses(self) -> Self:
        if not 0 < self.low <= min(self.open, self.close) <= max(self.open, self.close) <= self.high:
            raise ValueError(f"low {self.low} and high {self.high} do not enclose {self.open} and {self.close}")
        if self.base_volume < 0:
            raise ValueError(f"a volume is {self.base_volume}")
        return self


class BookLevel(NamedTuple):
    """What can be bought or sold at one price."""

    price: Decimal
    quantity: Decimal


class OrderBook(BaseModel):
    """Both sides of a book, best price first. Raises ValueError for a book whose sides cross."""

    model_config = ConfigDict(frozen=True)

    symbol: Symbol
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    at: Instant
    """When the broker made it; where the broker reports no time, the moment before it was asked for."""

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        bids, asks = [level.price for level in self.bids], [level.price for level in self.asks]
        if bids != sorted(bids, reverse=True) or asks != sorted(asks):
            raise ValueError("the levels are not ordered, best price first")
        if bids and asks and bids[0] > asks[0]:
            raise ValueError(f"the best bid {bids[0]} is above the best ask {asks[0]}")
        return self


class LastPrice(BaseModel):
    """The latest trade of a pair."""

    model_config = ConfigDict(frozen=True)

    symbol: Symbol
    price: Amount
    traded_at: Instant
