"""Computes what coins are worth in US dollars, from Coinbase's products. Pure."""

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

from shared.brokers.coinbase.symbols import CoinbaseSymbols
from shared.brokers.price_routes import PriceRoutes
from shared.domain.accounts.equity import DOLLARS
from shared.domain.amounts import parse_amount
from shared.domain.errors import InvalidAmount

_ROUTES = PriceRoutes(("USD", "USDC", "USDT"), bridges=("BTC", "EUR", "ETH", "GBP"))


def products_to_ask(currencies: Collection[str], symbols: CoinbaseSymbols) -> list[str]:
    """Ids of the products that price these currencies; a currency that is not listed needs none."""
    found = []
    for currency in currencies:
        if currency in DOLLARS:
            continue
        ids = [symbols.product_id(symbol) for symbol, _ in _ROUTES.candidates(currency)]
        # All of them: one may be listed and never have traded.
        direct = [product_id for product_id in ids if product_id is not None]
        found += direct or _ROUTES.wire_names([currency], symbols.product_id)
    return list(dict.fromkeys(found))


def dollar_prices(
    currencies: Collection[str], products: Iterable[Mapping[str, Any]], symbols: CoinbaseSymbols
) -> dict[str, Decimal]:
    """Last price per currency; who has none in `products` is left out."""
    last_prices = {
        symbols.symbol(product["product_id"]): price for product in products if (price := _last(product)) is not None
    }
    return _ROUTES.dollar_prices(currencies, last_prices)


def _last(product: Mapping[str, Any]) -> Decimal | None:
    """The price of the last trade; None for a product that has never traded or cannot be read."""
    try:
        price = parse_amount(product.get("price"))
    except InvalidAmount:
        return None
    return price if price > 0 else None
