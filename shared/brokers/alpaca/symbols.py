"""Derives canonical symbols, wire names and instruments from Alpaca's list of assets.

`BTC/USD` is also written `BTCUSD` (in positions and streams). A stock has a ticker only and trades in dollars: `AAPL`
is `AAPL/USD`. Some tickers are also the code of a coin: BTC and ETH are funds, too. Those stocks are called
`BTC.STOCK`, so that the stock and the coin are never confused.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from shared.domain.amounts import ZERO, parse_amount
from shared.domain.cash import is_cash
from shared.domain.errors import InvalidAmount
from shared.domain.identity import Broker
from shared.domain.instrument import AssetClass, Instrument
from shared.domain.symbol import Symbol

STOCK_SUFFIX: Final = ".STOCK"
_FINEST = Decimal("0.000000001")
_WHOLE = Decimal(1)
_CENT = Decimal("0.01")
# An order for coins must cost at least 10 dollars, an order for a fraction of a share at least 1 dollar.
_CRYPTO_MINIMUM_COST, _FRACTION_MINIMUM_COST = Decimal(10), Decimal(1)
_DOLLARS = frozenset({"USD", "USDT", "USDC"})
# Quote currencies by which an unlisted pair is split, longest first.
_QUOTES = ("USDT", "USDC", "USD", "BTC")

# Assets used when no list could be read: Alpaca shows its list to key holders only, other servers may have none.
_KNOWN_COINS = (
    *("AAVE", "ADA", "ATOM", "AVAX", "BAT", "BCH", "BTC", "CRV", "DOGE", "DOT", "ETH", "GRT", "LINK", "LTC", "PEPE"),
    *("SHIB", "SOL", "SUSHI", "TRX", "UNI", "USDC", "USDT", "XRP", "XTZ", "YFI"),
)
_KNOWN_STOCKS = ("AAPL", "AMZN", "GOOGL", "META", "MSFT", "NVDA", "QQQ", "SPY", "TSLA")


def known_assets() -> list[dict[str, Any]]:
    """A list of assets in Alpaca's shape. It is used as long as Alpaca's own list is not available."""
    coins = [{"class": "crypto", "symbol": f"{coin}/USD"} for coin in _KNOWN_COINS]
    crosses = [
        {"class": "crypto", "symbol": f"{coin}/{quote}"}
        for coin in ("BTC", "ETH", "SOL", "LTC", "LINK")
        for quote in ("USDC", "USDT")
    ]
    crosses += [{"class": "crypto", "symbol": f"{coin}/BTC"} for coin in ("BCH", "ETH", "LTC", "UNI")]
    return coins + crosses + [{"class": "us_equity", "symbol": ticker} for ticker in _KNOWN_STOCKS]


class AlpacaSymbols:
    """Names and instruments of one list of assets. Entries that cannot be read are left out."""

    def __init__(self, assets: Iterable[Mapping[str, Any]]) -> None:
        self.instruments: dict[Symbol, Instrument] = {}
        self._wire_names: dict[Symbol, str] = {}
        self._pairs: dict[str, Symbol] = {}
        self._coins: set[str] = set()
        tradable = [asset for asset in assets if _is_tradable(asset)]
        # Coins come first: a ticker that is also the name of a coin or of cash gets a suffix.
        for asset in tradable:
            if _class(asset) == "crypto" and asset["symbol"].count("/") == 1:
                self._add_pair(asset)
        for asset in tradable:
            if _class(asset) == "us_equity":
                self._add_stock(asset)

    def wire_name(self, symbol: Symbol) -> str | None:
        """Alpaca's name of the pair or stock; None when Alpaca does not list it."""
        return self._wire_names.get(symbol)

    def is_crypto(self, symbol: Symbol) -> bool:
        base, quote = symbol.currencies
        return base in self._coins and bool(quote)

    def symbol(self, wire_name: str, asset_class: str | None = None) -> Symbol:
        """The canonical symbol of a name in a reply. `asset_class` is None when the reply does not contain it."""
        if "/" in wire_name:
            return Symbol.parse(wire_name)
        if asset_class != "us_equity":
            pair = self._pairs.get(wire_name)
            if pair is not None:
                return pair
        if asset_class == "crypto":
            for quote in _QUOTES:
                if wire_name.endswith(quote) and len(wire_name) > len(quote):
                    return Symbol(wire_name.removesuffix(quote), quote)
            return Symbol(wire_name, "USD")
        return Symbol(self._stock(wire_name), "USD")

    def _stock(self, ticker: str) -> str:
        return ticker + STOCK_SUFFIX if ticker in self._coins or is_cash(ticker) else ticker

    def _add_pair(self, asset: Mapping[str, Any]) -> None:
        symbol = Symbol.parse(asset["symbol"])
        base, quote = symbol.currencies
        lot = _positive(asset, "min_trade_increment") or _FINEST
        self.instruments[symbol] = Instrument(
            broker=Broker.ALPACA,
            symbol=symbol,
            base=base,
            quote=quote,
            lot=lot,
            price_tick=_positive(asset, "price_increment") or _FINEST,
            minimum_quantity=_positive(asset, "min_order_size") or lot,
            minimum_cost=_CRYPTO_MINIMUM_COST if quote in _DOLLARS else ZERO,
        )
        self._wire_names[symbol] = symbol
        self._pairs[base + quote] = symbol
        self._coins.add(base)

    def _add_stock(self, asset: Mapping[str, Any]) -> None:
        base = self._stock(asset["symbol"])
        in_parts = asset.get("fractionable", True)
        lot = _FINEST if in_parts else _WHOLE
        symbol = Symbol(base, "USD")
        self.instruments[symbol] = Instrument(
            broker=Broker.ALPACA,
            symbol=symbol,
            asset_class=AssetClass.STOCK,
            base=base,
            quote="USD",
            lot=lot,
            price_tick=_CENT,
            minimum_quantity=lot,
            minimum_cost=_FRACTION_MINIMUM_COST if in_parts else ZERO,
        )
        self._wire_names[symbol] = asset["symbol"]


def _class(asset: Mapping[str, Any]) -> Any:
    return asset.get("class") or asset.get("asset_class")


def _is_tradable(asset: Any) -> bool:
    return (
        isinstance(asset, dict)
        and isinstance(asset.get("symbol"), str)
        and asset.get("status", "active") == "active"
        and asset.get("tradable", True) is True
    )


def _positive(asset: Mapping[str, Any], field: str) -> Decimal | None:
    try:
        amount = parse_amount(asset.get(field))
    except InvalidAmount:
        return None
    return amount if amount > 0 else None
