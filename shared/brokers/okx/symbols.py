"""Translates between nija's symbols and OKX's names, and builds the instruments from ccxt's markets.

`BTC-USDT` on the wire is `BTC/USDT` here.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from shared.domain.amounts import ZERO
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol

_FINEST_STEP = Decimal("0.00000001")


class OkxSymbols:
    """Names and instruments of the spot markets that were listed when the connection was opened."""

    def __init__(self, client: Any) -> None:
        """`client`: a ccxt client whose markets are loaded."""
        self._client = client
        self.instruments: dict[Symbol, Instrument] = {}
        self._wire_names: dict[Symbol, str] = {}
        self._symbols: dict[str, Symbol] = {}
        self.currencies: set[str] = set()
        """The currencies that can be traded in some pair."""
        for market in _spot_markets(client.markets_by_id):
            self._add(market)

    def _add(self, market: Mapping[str, Any]) -> None:
        base, quote, wire_name = market["base"], market["quote"], market["id"]
        symbol = Symbol(base, quote)
        self.instruments[symbol] = Instrument(
            broker=Broker.OKX,
            symbol=symbol,
            base=base,
            quote=quote,
            lot=_step(market["precision"]["amount"]),
            price_tick=_step(market["precision"]["price"]),
            minimum_quantity=_number(market["limits"]["amount"]["min"]),
            maximum_quantity=_number(market["info"].get("maxMktSz")) or None,
        )
        self.currencies.update((base, quote))
        self._wire_names[symbol] = wire_name
        self._symbols[wire_name] = symbol

    def wire_name(self, symbol: Symbol) -> str | None:
        """How OKX wants the pair named; None when it does not list it."""
        return self._wire_names.get(symbol)

    def asked_name(self, symbol: Symbol) -> str:
        """How to ask for orders of a pair that may be listed no more."""
        return self._wire_names.get(symbol) or symbol.replace("/", "-")

    def symbol(self, wire_name: str) -> Symbol:
        """The canonical symbol of a pair as a reply names it."""
        known = self._symbols.get(wire_name)
        if known is not None:
            return known
        base, separator, quote = wire_name.partition("-")
        return Symbol(self.currency(base), self.currency(quote) if separator else "")

    def currency(self, wire_name: str) -> str:
        """The canonical code of a currency."""
        return str(self._client.safe_currency_code(wire_name))


def _spot_markets(markets_by_id: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for markets in markets_by_id.values():
        for market in markets:
            # What is announced and not tradable yet has no lot.
            if market.get("spot") and market["precision"]["amount"]:
                yield market


def _number(value: Any) -> Decimal:
    return Decimal(str(value)) if value not in (None, "") else ZERO


def _step(value: Any) -> Decimal:
    step = _number(value)
    return step if step > 0 else _FINEST_STEP
