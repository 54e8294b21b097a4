"""Derives canonical symbols, wire names and instruments from the Binance markets that ccxt loaded.

`BTCUSDT` is `BTC/USDT`. Lots, minimums and maximums are the strictest ones of all filters that a market order must pass.
"""

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any

from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol

_FINEST_STEP = Decimal("0.00000001")

# Quote currencies by which an unlisted pair is split, longest first.
_QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "BUSD", "USD", "EUR", "TRY", "BRL", "JPY", "BTC", "ETH", "BNB")


class BinanceSymbols:
    """Names and instruments of the markets that were listed when the connection was opened."""

    def __init__(self, client: Any) -> None:
        """`client`: a ccxt client whose markets are loaded."""
        self._client = client
        self.instruments: dict[Symbol, Instrument] = {}
        self._wire_names: dict[Symbol, str] = {}
        self._symbols: dict[str, Symbol] = {}
        self._touching: dict[str, list[Symbol]] = {}
        for market in _markets(client.markets_by_id):
            if market.get("spot", True):
                self._add(market)

    def _add(self, market: Mapping[str, Any]) -> None:
        base, quote, wire_name = market["base"], market["quote"], market["id"]
        symbol = Symbol(base, quote)
        self._wire_names[symbol] = wire_name
        self._symbols[wire_name] = symbol
        info = market["info"]
        if info.get("status") == "BREAK" or info.get("isSpotTradingAllowed") is False:
            return  # delisted: its name is still needed to read old orders
        filters = {str(entry.get("filterType")): entry for entry in info.get("filters") or ()}
        lots = (filters.get("LOT_SIZE", {}), filters.get("MARKET_LOT_SIZE", {}))
        notionals = (filters.get("NOTIONAL", {}), filters.get("MIN_NOTIONAL", {}))
        self.instruments[symbol] = Instrument(
            broker=Broker.BINANCE,
            symbol=symbol,
            base=base,
            quote=quote,
            lot=_step(max(_number(entry.get("stepSize")) for entry in lots), market["precision"]["amount"]),
            price_tick=_step(_number(filters.get("PRICE_FILTER", {}).get("tickSize")), market["precision"]["price"]),
            minimum_quantity=max(_number(entry.get("minQty")) for entry in lots),
            minimum_cost=max(_number(entry.get("minNotional")) for entry in notionals),
            maximum_quantity=min((most for entry in lots if (most := _number(entry.get("maxQty"))) > 0), default=None),
        )
        for currency in (base, quote):
            self._touching.setdefault(currency, []).append(symbol)

    def listed(self, symbol: Symbol) -> str | None:
        """Binance's name of a pair that can be traded; None when it cannot be traded."""
        return self._wire_names[symbol] if symbol in self.instruments else None

    def wire_name(self, symbol: Symbol) -> str:
        """Binance's name of the pair, also of a pair that is not listed, or no longer."""
        return self._wire_names.get(symbol) or symbol.replace("/", "")

    def symbol(self, wire_name: str) -> Symbol:
        """The canonical symbol of a pair in a reply. A pair that is not listed is split by its quote currency."""
        known = self._symbols.get(wire_name)
        if known is not None:
            return known
        for quote in _QUOTES:
            if wire_name.endswith(quote) and len(wire_name) > len(quote):
                return Symbol(self.currency(wire_name.removesuffix(quote)), self.currency(quote))
        return Symbol(wire_name, "")

    def currency(self, wire_name: str) -> str:
        """The canonical code of an asset."""
        return str(self._client.safe_currency_code(wire_name))

    @property
    def currencies(self) -> Collection[str]:
        """The currencies that can be traded in some pair."""
        return self._touching.keys()

    def touching(self, currency: str) -> list[Symbol]:
        """The pairs in which trading moves this currency."""
        return self._touching.get(currency, [])


def _markets(markets_by_id: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for markets in markets_by_id.values():
        yield from markets


def _number(value: Any) -> Decimal:
    return Decimal(str(value)) if value not in (None, "") else Decimal(0)


def _step(of_filter: Decimal, precision: Any) -> Decimal:
    step = of_filter if of_filter > 0 else _number(precision)
    return step if step > 0 else _FINEST_STEP
