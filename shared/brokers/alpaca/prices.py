"""Computes what coins and stocks are worth in US dollars, from Alpaca's last prices. Pure."""

from collections.abc import Collection, Mapping
from decimal import Decimal

from shared.brokers.alpaca.symbols import AlpacaSymbols
from shared.domain.accounts.equity import DOLLARS
from shared.domain.amounts import ONE
from shared.domain.symbol import Symbol

_QUOTES = ("USD", "USDC", "USDT")


class PriceNames:
    """The wire names whose prices are needed: pairs of coins and tickers of stocks."""

    def __init__(self, currencies: Collection[str], reported: Collection[str], symbols: AlpacaSymbols) -> None:
        """`reported`: currencies whose price is known already."""
        self.pairs: list[str] = []
        self.tickers: list[str] = []
        for currency in currencies:
            if currency in DOLLARS or currency in reported:
                continue
            symbol = _listed(currency, symbols)
            if symbol is not None:
                names = self.pairs if symbols.is_crypto(symbol) else self.tickers
                names.append(symbols.wire_name(symbol) or symbol)


def dollar_prices(
    currencies: Collection[str],
    reported: Mapping[str, Decimal],
    wire_prices: Mapping[str, Decimal],
    symbols: AlpacaSymbols,
) -> dict[str, Decimal]:
    """Price per currency; who has none is left out."""
    prices: dict[str, Decimal] = {}
    for currency in currencies:
        if currency in DOLLARS:
            prices[currency] = ONE
            continue
        symbol = _listed(currency, symbols)
        price = reported.get(currency)
        if price is None and symbol is not None:
            price = wire_prices.get(symbols.wire_name(symbol) or symbol)
        if price is not None and price > 0:
            prices[currency] = price
    return prices


def _listed(currency: str, symbols: AlpacaSymbols) -> Symbol | None:
    for quote in _QUOTES:
        symbol = Symbol(currency, quote)
        if symbols.wire_name(symbol) is not None:
            return symbol
    return None
