"""Reads the last price of each pair from Coinbase's products. Pure."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.coinbase.symbols import CoinbaseSymbols
from shared.domain.amounts import ZERO, parse_amount
from shared.domain.errors import InvalidAmount
from shared.domain.symbol import Symbol


def last_prices(products: Iterable[Mapping[str, Any]], symbols: CoinbaseSymbols) -> dict[Symbol, Decimal]:
    """Last price per pair. A product that has never traded, or cannot be read, is left out.

    A product that is disabled or not listed is left out, too: Coinbase still shows its last price, which is out of date.
    """
    prices = {
        symbols.symbol(product["product_id"]): _last(product) for product in products if not _is_disabled(product)
    }
    return {symbol: price for symbol, price in prices.items() if price > 0 and symbol in symbols.instruments}


def _last(product: Mapping[str, Any]) -> Decimal:
    try:
        return parse_amount(product.get("price"))
    except InvalidAmount:
        return ZERO


def _is_disabled(product: Mapping[str, Any]) -> bool:
    return product.get("is_disabled") is True or product.get("trading_disabled") is True
