"""Chooses the pairs through which a broker prices coins, and computes their prices in US dollars. Pure."""

from collections.abc import Callable, Collection, Iterator, Mapping
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

    def candidates(self, currency: str) -> Iterator[tuple[Symbol, bool]]:
        """Symbols that price a currency, best first, each with whether its price is the inverse."""
        for quote in self.quotes:
            yield Symbol(currency, quote), False
        if self.money_base is not None:
            yield Symbol(self.money_base, currency), True

    def wire_names(self, currencies: Collection[str], wire_name: Callable[[Symbol], str | None]) -> list[str]:
        """The best listed pair of each currency, as the broker names it; a currency without a pair needs none.

        `wire_name` gives None for a symbol that is not listed.
        """
        found: dict[str, None] = {}
        for currency in currencies:
            if currency in DOLLARS:
                continue
            for symbol, _ in self.candidates(currency):
                name = wire_name(symbol)
                if name is not None:
                    found[name] = None
                    break
        return list(found)

    def dollar_prices(self, currencies: Collection[str], last_prices: Mapping[Symbol, Decimal]) -> dict[str, Decimal]:
        """US dollars per currency, from the last price per symbol; who has none above 0 is left out."""
        prices: dict[str, Decimal] = {}
        for currency in currencies:
            if currency in DOLLARS:
                prices[currency] = ONE
                continue
            for symbol, inverse in self.candidates(currency):
                last = last_prices.get(symbol, ZERO)
                if last > 0:
                    prices[currency] = ONE / last if inverse else last
                    break
        return prices
