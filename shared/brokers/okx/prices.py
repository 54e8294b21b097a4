"""Reads the last price of each pair from OKX's tickers. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.okx.symbols import OkxSymbols
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.errors import InvalidAmount
from shared.domain.symbol import Symbol


def last_prices(tickers: list[Any], symbols: OkxSymbols) -> dict[Symbol, Decimal]:
    """Last price per pair. A pair that has never traded, or whose ticker cannot be read, is left out."""
    prices = {symbols.symbol(ticker["instId"]): _last(ticker) for ticker in tickers}
    return {symbol: price for symbol, price in prices.items() if price > 0}


def _last(ticker: Mapping[str, Any]) -> Decimal:
    try:
        return parse_amount(ticker["last"])
    except (KeyError, InvalidAmount):
        return ZERO
