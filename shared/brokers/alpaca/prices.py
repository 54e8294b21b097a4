"""Names the pairs and stocks whose last prices are requested from Alpaca. Pure."""

from collections.abc import Collection
from typing import NamedTuple, Self

from shared.brokers.alpaca.profile import PROFILE
from shared.brokers.alpaca.symbols import AlpacaSymbols
from shared.domain.accounts.equity import DOLLARS
from shared.domain.symbol import Symbol


class PriceNames(NamedTuple):
    """The symbols to request by their names at Alpaca. Coins and stocks have different requests."""

    coins: dict[str, Symbol]
    stocks: dict[str, Symbol]

    @classmethod
    def of(cls, assets: Collection[str], symbols: AlpacaSymbols) -> Self:
        """The names for these assets. An asset that is not listed needs none."""
        names = cls({}, {})
        for asset in assets:
            symbol = None if asset in DOLLARS else _listed(asset, symbols)
            if symbol is not None:
                kind = names.coins if symbols.is_crypto(symbol) else names.stocks
                kind[symbols.wire_name(symbol) or symbol] = symbol
        return names


def _listed(asset: str, symbols: AlpacaSymbols) -> Symbol | None:
    pairs = (symbol for symbol, _ in PROFILE.price_routes.candidates(asset))
    return next((symbol for symbol in pairs if symbols.wire_name(symbol) is not None), None)
