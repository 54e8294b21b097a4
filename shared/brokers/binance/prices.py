"""Reads the last price of each pair from Binance's tickers. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.binance.symbols import BinanceSymbols
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.errors import InvalidAmount
from shared.domain.symbol import Symbol


def last_prices(tickers: Any, symbols: BinanceSymbols) -> dict[Symbol, Decimal]:
    """Last price per pair. A pair that has not traded, or whose ticker cannot be read, is left out.

    A pair that is no longer traded is left out, too: Binance still shows its last price, which is out of date.
    """
    prices = {symbols.symbol(str(ticker["symbol"])): _last(ticker) for ticker in tickers}
    return {symbol: price for symbol, price in prices.items() if price > 0 and symbol in symbols.instruments}


def _last(ticker: Mapping[str, Any]) -> Decimal:
    try:
        return parse_amount(ticker.get("price"))
    except InvalidAmount:
        return ZERO
