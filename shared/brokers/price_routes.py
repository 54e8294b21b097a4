"""Chooses the pairs through which a broker prices assets, and computes their prices in US dollars. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from shared.domain.accounts.equity import DOLLARS
from shared.domain.amounts import ONE, ZERO
from shared.domain.symbol import Symbol


@dataclass(frozen=True)
class PriceRoutes:
    """The pairs that price a currency at one broker, best first."""

    quotes: tuple[str, ...]
    """Dollars, and what counts as dollars, that coins are quoted in; the most traded first."""
    money_base: str | None = None
    """The base of pairs that are listed the other way round, as money is (USD/JPY); None where there are none."""

    bridges: tuple[str, ...] = ()
    """Other currencies that coins are quoted in, the most traded first. They price a coin that has no dollar pair."""

    def candidates(self, currency: str) -> Iterator[tuple[Symbol, bool]]:
        """Symbols that price a currency in dollars, best first, each with whether its price is the inverse."""
        for quote in self.quotes:
            yield Symbol(currency, quote), False
        if self.money_base is not None:
            yield Symbol(self.money_base, currency), True

    def dollar_prices(self, currencies: Collection[str], last_prices: Mapping[Symbol, Decimal]) -> dict[str, Decimal]:
        """US dollars per currency, from the last price per symbol. A currency without a price above 0 is left out."""
        prices = {currency: self.dollar_price(currency, last_prices) for currency in currencies}
        return {currency: price for currency, price in prices.items() if price is not None}

    def dollar_price(self, currency: str, last_prices: Mapping[Symbol, Decimal]) -> Decimal | None:
        """US dollars per unit, through another currency if there is no dollar pair; None if there is no price."""
        direct = self._direct(currency, last_prices)
        if direct is not None:
            return direct
        for bridge in self.bridges:
            first = _first_price(_pairs_between(currency, bridge), last_prices)
            second = self._direct(bridge, last_prices)
            if first is not None and second is not None:
                return first * second
        return None

    def pairs_for(self, currencies: Iterable[str]) -> set[Symbol]:
        """Every pair whose price can have a part in the dollar prices of these currencies."""
        asked = set(currencies)
        between = {pair for each in asked for bridge in self.bridges for pair, _ in _pairs_between(each, bridge)}
        return between | {pair for each in (*asked, *self.bridges) for pair, _ in self.candidates(each)}

    def _direct(self, currency: str, last_prices: Mapping[Symbol, Decimal]) -> Decimal | None:
        return ONE if currency in DOLLARS else _first_price(self.candidates(currency), last_prices)


def _pairs_between(currency: str, bridge: str) -> Iterator[tuple[Symbol, bool]]:
    yield Symbol(currency, bridge), False
    yield Symbol(bridge, currency), True


def _first_price(candidates: Iterable[tuple[Symbol, bool]], last_prices: Mapping[Symbol, Decimal]) -> Decimal | None:
    for symbol, inverse in candidates:
        last = last_prices.get(symbol, ZERO)
        if last > 0:
            return ONE / last if inverse else last
    return None


class DollarPrices(dict[str, Decimal | None]):
    """US dollars per unit of each asset by one price list, computed when an asset is first asked for."""

    def __init__(self, routes: PriceRoutes, last_prices: Mapping[Symbol, Decimal]) -> None:
        super().__init__()
        self._routes = routes
        self._last_prices = last_prices

    def __missing__(self, asset: str) -> Decimal | None:
        price = self[asset] = self._routes.dollar_price(asset, self._last_prices)
        return price

    def among(self, assets: Collection[str]) -> dict[str, Decimal]:
        """The prices of these assets. Assets without a price are left out."""
        return {asset: price for asset in assets if (price := self[asset]) is not None}
