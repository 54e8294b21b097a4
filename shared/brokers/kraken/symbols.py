"""Kraken's many names for one thing: markets as ccxt loaded them in, canonical symbols and wire names out.

`XXBTZUSD`, `XBTUSD`, `XBT/USD` and `BTC/USD` are one pair; `XXBT`, `XBT` and `XBT.F` are one coin.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol

# What Kraken does with a missing number of decimals; it rounds no amount that we send.
_FINEST_STEP = Decimal("0.00000001")

# Quote currencies by which an unlisted pair is told apart, longest first.
_QUOTES = ("ZUSD", "ZEUR", "ZGBP", "ZCAD", "ZJPY", "XXBT", "XETH", "USDT", "USDC", "USD", "EUR", "GBP", "XBT", "ETH")

# Suffixes of an asset: `F` earns by itself and may be traded as the coin; the others are locked up (staked,
# bonded, opted in, parachain, held back). `T` is a tokenized share, another asset altogether.
TRADABLE_SUFFIXES = frozenset({"F"})
LOCKED_SUFFIXES = frozenset({"S", "M", "B", "P", "HOLD"})


class KrakenSymbols:
    """Names and instruments of the markets that were listed when the connection was opened."""

    def __init__(self, client: Any) -> None:
        """`client`: a ccxt client whose markets are loaded."""
        self._client = client
        self.instruments: dict[Symbol, Instrument] = {}
        self._wire_names: dict[Symbol, str] = {}
        self._symbols: dict[str, Symbol] = {}
        for market in _markets(client.markets_by_id):
            self._add(market)

    def _add(self, market: Mapping[str, Any]) -> None:
        base, quote, wire_name = market["base"], market["quote"], market["id"]
        if ":" in wire_name or wire_name.endswith(".d"):
            return  # synthetic and dark-pool pairs trade elsewhere under the same two currencies
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
        self._wire_names[symbol] = wire_name
        for name in (symbol, wire_name, info.get("altname"), info.get("wsname")):
            if name:
                self._symbols[name] = symbol

    def wire_name(self, symbol: Symbol) -> str | None:
        """How Kraken wants the pair named; None when it does not list it."""
        return self._wire_names.get(symbol)

    def symbol(self, wire_name: str) -> Symbol:
        """The canonical symbol of a pair as a reply names it; one that is not listed is split by its quote."""
        known = self._symbols.get(wire_name)
        if known is not None:
            return known
        if "/" in wire_name:
            base, _, quote = wire_name.partition("/")
            return Symbol(self.currency(base), self.currency(quote))
        for quote in _QUOTES:
            if wire_name.endswith(quote) and len(wire_name) > len(quote):
                return Symbol(self.currency(wire_name.removesuffix(quote)), self.currency(quote))
        return Symbol(wire_name, "")

    def currency(self, wire_name: str) -> str:
        """The canonical code of an asset without a suffix."""
        return str(self._client.safe_currency_code(wire_name))


def _markets(markets_by_id: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for markets in markets_by_id.values():
        yield from markets


def _number(value: Any) -> Decimal:
    return Decimal(str(value)) if value not in (None, "") else Decimal(0)


def _step(value: Any) -> Decimal:
    step = _number(value)
    return step if step > 0 else _FINEST_STEP
