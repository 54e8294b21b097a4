"""Computes what coins are worth in US dollars, from OKX's tickers. Pure."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.okx.symbols import OkxSymbols
from shared.brokers.price_routes import PriceRoutes
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.errors import InvalidAmount

_ROUTES = PriceRoutes(("USDT", "USDC", "USD"), bridges=("BTC", "ETH", "OKB", "EUR", "BRL", "TRY", "AUD"))


def pairs_to_ask(currencies: Collection[str], symbols: OkxSymbols) -> list[str]:
    """Wire names of the pairs whose tickers are needed; a currency that is not listed needs none."""
    return _ROUTES.wire_names(currencies, symbols.wire_name)


def dollar_prices(currencies: Collection[str], tickers: list[Any], symbols: OkxSymbols) -> dict[str, Decimal]:
    """Last price per currency; who has none in `tickers` is left out."""
    last_prices = {symbols.symbol(ticker["instId"]): _last(ticker) for ticker in tickers}
    return _ROUTES.dollar_prices(currencies, last_prices)


def _last(ticker: Mapping[str, Any]) -> Decimal:
    """The price of the last trade; 0 for a pair that has never traded or whose ticker cannot be read."""
    try:
        return parse_amount(ticker["last"])
    except (KeyError, InvalidAmount):
        return ZERO
