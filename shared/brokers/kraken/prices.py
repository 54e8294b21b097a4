"""Computes what coins are worth in US dollars, from Kraken's tickers. Pure."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.kraken.symbols import KrakenSymbols
from shared.brokers.price_routes import PriceRoutes
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.errors import InvalidAmount

_ROUTES = PriceRoutes(
    ("USD", "USDT", "USDC"), money_base="USD", bridges=("EUR", "BTC", "ETH", "GBP", "CAD", "AUD", "CHF", "JPY")
)
"""Yen, Canadian dollars and francs are listed the other way round."""


def pairs_to_ask(currencies: Collection[str], symbols: KrakenSymbols) -> list[str]:
    """Wire names of the pairs whose tickers are needed; a currency that is not listed needs none."""
    return _ROUTES.wire_names(currencies, symbols.wire_name)


def dollar_prices(
    currencies: Collection[str], tickers: Mapping[str, Any], symbols: KrakenSymbols
) -> dict[str, Decimal]:
    """Last price per currency; who has none in `tickers` is left out."""
    last_prices = {symbols.symbol(pair): _last(ticker) for pair, ticker in tickers.items()}
    return _ROUTES.dollar_prices(currencies, last_prices)


def _last(ticker: Any) -> Decimal:
    """The price of the last trade; 0 for a pair that has never traded or whose ticker cannot be read."""
    try:
        return parse_amount(ticker["c"][0])
    except (TypeError, KeyError, IndexError, InvalidAmount):
        return ZERO
