"""Reads the last price of each pair from Kraken's tickers. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.kraken.symbols import KrakenSymbols
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.errors import InvalidAmount
from shared.domain.symbol import Symbol


def last_prices(tickers: Mapping[str, Any], symbols: KrakenSymbols) -> dict[Symbol, Decimal]:
    """Last price per pair. A pair that has never traded, or whose ticker cannot be read, is left out."""
    prices = {symbols.symbol(pair): _last(ticker) for pair, ticker in tickers.items()}
    return {symbol: price for symbol, price in prices.items() if price > 0}


def _last(ticker: Any) -> Decimal:
    try:
        return parse_amount(ticker["c"][0])
    except (TypeError, KeyError, IndexError, InvalidAmount):
        return ZERO
