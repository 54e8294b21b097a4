"""Defines the price list of a broker: the last price of each pair, with the time at which the broker listed it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple, Protocol, Self

from shared.domain.symbol import Symbol

NEVER = datetime.min.replace(tzinfo=UTC)


class EarlierPrice(NamedTuple):
    """The last known price of a pair that the newest list lacks."""

    price: Decimal
    listed_at: datetime


@dataclass(frozen=True)
class PriceList:
    """One broker's last prices, in quote currency."""

    listed_at: datetime = NEVER
    """The time of the newest list; `NEVER` before the first one."""
    prices: Mapping[Symbol, Decimal] = field(default_factory=dict)
    """The newest list."""
    earlier: Mapping[Symbol, EarlierPrice] = field(default_factory=dict)
    """Pairs that were on an earlier list."""

    @property
    def is_empty(self) -> bool:
        return self.listed_at == NEVER

    def followed_by(self, prices: Mapping[Symbol, Decimal], listed_at: datetime) -> Self:
        """The list after the broker listed `prices`. Pairs that are missing there keep their last price."""
        gone = {
            symbol: EarlierPrice(price, self.listed_at) for symbol, price in self.prices.items() if symbol not in prices
        }
        earlier = {symbol: last for symbol, last in self.earlier.items() if symbol not in prices}
        return type(self)(listed_at, prices, earlier | gone)

    def since(self, moment: datetime) -> Mapping[Symbol, Decimal]:
        """The last price of each pair that was listed at or after `moment`."""
        found = {symbol: last.price for symbol, last in self.earlier.items() if last.listed_at >= moment}
        return {**found, **self.prices} if self.listed_at >= moment else found


class PriceLists(Protocol):
    """Where a process reads the price list of its broker."""

    async def read(self) -> PriceList:
        """The newest list. Raises RedisError."""
        ...

    async def need(self, assets: frozenset[str]) -> None:
        """Ask for the prices of these assets from the next list on. Raises RedisError."""
        ...
