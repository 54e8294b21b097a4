"""Computes what coins are worth in US dollars, from Binance's tickers. Pure."""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.binance.symbols import BinanceSymbols
from shared.brokers.price_routes import PriceRoutes
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.errors import InvalidAmount

_ROUTES = PriceRoutes(
    ("USDT", "USDC", "USD"), money_base="USDT", bridges=("BTC", "FDUSD", "BNB", "ETH", "EUR", "TRY", "BRL", "JPY")
)
"""Liras, reais and other money are listed the other way round."""


def pairs_to_ask(currencies: Collection[str], symbols: BinanceSymbols) -> list[str]:
    """Wire names of the pairs whose tickers are needed; a currency that is not listed needs none."""
    return _ROUTES.wire_names(currencies, symbols.listed)


def dollar_prices(currencies: Collection[str], tickers: Any, symbols: BinanceSymbols) -> dict[str, Decimal]:
    """Last price per currency; who has none in `tickers` (a list, or one alone) is left out."""
    listed = tickers if isinstance(tickers, list) else [tickers]
    last_prices = {symbols.symbol(str(ticker["symbol"])): _last(ticker) for ticker in listed if "symbol" in ticker}
    return _ROUTES.dollar_prices(currencies, last_prices)


def _last(ticker: Mapping[str, Any]) -> Decimal:
    """The price of the last trade; 0 for a pair that has not traded or whose ticker cannot be read."""
    try:
        return parse_amount(ticker.get("lastPrice") or ticker.get("price"))
    except InvalidAmount:
        return ZERO
