"""Derives canonical symbols, wire names and instruments from the Kraken markets that ccxt loaded.

Kraken has many names for one thing: `XXBTZUSD`, `XBTUSD`, `XBT/USD` and `BTC/USD` are one pair; `XXBT`, `XBT` and
`XBT.F` are one coin.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol

# Used when the number of decimals is missing. Kraken rounds no amount that we send.
_FINEST_STEP = Decimal("0.00000001")


class KrakenSymbols:
    """Names and instruments of the markets that were listed when the connection was opened."""

    def __init__(self, client: Any) -> None:
        """`client`: a ccxt client whose markets and currencies are loaded."""
        self._client = client
        self._assets = _asset_names(client.currencies)
        self.instruments: dict[Symbol, Instrument] = {}
        self._wire_names: dict[Symbol, str] = {}
        self._symbols: dict[str, Symbol] = {}
        self.currencies: set[str] = set()
        """The currencies that can be traded in some pair."""
        for market in _markets(client.markets_by_id):
            self._add(market)

    def _add(self, market: Mapping[str, Any]) -> None:
        base, quote, wire_name = market["base"], market["quote"], market["id"]
        if ":" in wire_name or wire_name.endswith(".d"):
            return  # synthetic and dark-pool pairs trade elsewhere with the same two currencies
        symbol = Symbol(base, quote)
        info = market["info"]
        precision, limits = market["precision"], market["limits"]
        self.instruments[symbol] = Instrument(
            broker=Broker.KRAKEN,
            symbol=symbol,
            base=base,
            quote=quote,
            lot=_step(precision["amount"]),
            price_tick=_step(info.get("tick_size") or precision["price"]),
            minimum_quantity=_number(limits["amount"]["min"]),
            minimum_cost=_number(limits["cost"]["min"]),
        )
        self.currencies.update((base, quote))
        self._wire_names[symbol] = wire_name
        for name in (symbol, wire_name, info.get("altname"), info.get("wsname")):
            if name:
                self._symbols[name] = symbol

    def wire_name(self, symbol: Symbol) -> str | None:
        """Kraken's name of the pair; None when Kraken does not list it."""
        return self._wire_names.get(symbol)

    def symbol(self, wire_name: str) -> Symbol:
        """The canonical symbol of a pair in a reply.

        A pair that is no longer listed is split where both parts are names on Kraken's list of assets: XICNXXBT is
        ICN/BTC. If there is no such place, or more than one, the name stays whole and has no quote currency.
        """
        known = self._symbols.get(wire_name)
        if known is not None:
            return known
        if "/" in wire_name:
            base, _, quote = wire_name.partition("/")
            return Symbol(self.currency(base), self.currency(quote))
        halves = ((wire_name[:place], wire_name[place:]) for place in range(1, len(wire_name)))
        found = {
            Symbol(self._assets[base], self._assets[quote])
            for base, quote in halves
            if base in self._assets and quote in self._assets
        }
        return found.pop() if len(found) == 1 else Symbol(wire_name, "")

    def currency(self, wire_name: str) -> str:
        """The canonical code of an asset without a suffix."""
        return self._assets.get(wire_name) or str(self._client.safe_currency_code(wire_name))


def _asset_names(currencies: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Each name of an asset → its canonical code. Kraken has an id and a second name for each, as XXBT and XBT."""
    return {
        str(name): code
        for code, currency in currencies.items()
        for name in (currency["id"], (currency.get("info") or {}).get("altname"))
        if name and "." not in name
    }


def _markets(markets_by_id: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for markets in markets_by_id.values():
        yield from markets


def _number(value: Any) -> Decimal:
    return Decimal(str(value)) if value not in (None, "") else Decimal(0)


def _step(value: Any) -> Decimal:
    step = _number(value)
    return step if step > 0 else _FINEST_STEP
