"""Derives canonical symbols, product ids and instruments from the Coinbase markets that ccxt loaded.

`BTC-USD` is `BTC/USD`. A product may be an alias: orders in `BTC-USDC` trade in the book of `BTC-USD`, and Coinbase
may then use either name in a reply.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from shared.domain.amounts import ZERO
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol

# Used for a product without a step. Every product of this broker has steps at least as large.
_FINEST_STEP = Decimal("0.00000001")


class CoinbaseSymbols:
    """Names and instruments of the products that were listed when the connection was opened."""

    def __init__(self, client: Any) -> None:
        """`client`: a ccxt client whose markets are loaded."""
        self._client = client
        self.instruments: dict[Symbol, Instrument] = {}
        self._product_ids: dict[Symbol, str] = {}
        self._symbols: dict[str, Symbol] = {}
        self._books: dict[str, str] = {}
        for market in _markets(client.markets_by_id):
            self._add(market)

    def _add(self, market: Mapping[str, Any]) -> None:
        base, quote, product_id = market["base"], market["quote"], market["id"]
        info = market["info"]
        precision, limits = market["precision"], market["limits"]
        symbol = Symbol(base, quote)
        self.instruments[symbol] = Instrument(
            broker=Broker.COINBASE,
            symbol=symbol,
            base=base,
            quote=quote,
            lot=_step(precision["amount"]),
            price_tick=_step(precision["price"]),
            minimum_quantity=_number(limits["amount"]["min"]),
            minimum_cost=_number(limits["cost"]["min"]),
            maximum_quantity=_number(info.get("base_max_size")) or None,
        )
        self._product_ids[symbol] = product_id
        self._symbols[product_id] = symbol
        if info.get("alias"):
            self._books[product_id] = info["alias"]
        for alias in info.get("alias_to") or ():
            self._books.setdefault(alias, product_id)

    def product_id(self, symbol: Symbol) -> str | None:
        """Coinbase's name of the product; None when Coinbase does not list it."""
        return self._product_ids.get(symbol)

    def symbol(self, product_id: str) -> Symbol:
        """The canonical symbol of a product in a reply."""
        known = self._symbols.get(product_id)
        if known is not None:
            return known
        base, separator, quote = product_id.partition("-")
        return Symbol(self.currency(base), self.currency(quote) if separator else "")

    def symbol_asked(self, product_id: str, asked: Symbol) -> Symbol:
        """The symbol of a reply to a request about `asked`. Returns `asked` also when the reply has its other name."""
        own = self._product_ids.get(asked, "")
        return asked if own and self._book(product_id) == self._book(own) else self.symbol(product_id)

    def currency(self, wire_name: str) -> str:
        """The canonical code of a currency."""
        return str(self._client.safe_currency_code(wire_name))

    def _book(self, product_id: str) -> str:
        return self._books.get(product_id, product_id)


def _markets(markets_by_id: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for markets in markets_by_id.values():
        yield from markets


def _number(value: Any) -> Decimal:
    return Decimal(str(value)) if value not in (None, "") else ZERO


def _step(value: Any) -> Decimal:
    step = _number(value)
    return step if step > 0 else _FINEST_STEP
