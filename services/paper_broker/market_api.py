"""Serves `/paper/price`, `/paper/market`, `/paper/quiet` and `/paper/clock`: what the market and its clock do."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from services.paper_broker.dialect import Dialect, Reply, Request
from services.paper_broker.documents import BadRequest, answered, document, no_route
from shared.domain.amounts import parse_amount, plain
from shared.domain.symbol import Symbol
from shared.exchange.clock import MonotonicClock
from shared.exchange.exchange import Exchange
from shared.exchange.market_modes import MarketMode

_MOST_QUIET_MINUTES = 1_440
_MOST_OFFSET_SECONDS = 86_400
_MICROSECONDS = 1_000_000


class MarketApi:
    """The part of the paper broker's own API that is about the market."""

    def __init__(self, exchange: Exchange, dialect: Dialect, clock: MonotonicClock) -> None:
        self._exchange = exchange
        self._dialect = dialect
        self._clock = clock

    def route(self, request: Request, parts: list[str]) -> Reply:
        match request.method, parts:
            case "POST", ["price"]:
                return self._price(document(request))
            case "POST", ["market"]:
                return self._change_market(document(request))
            case "POST", ["quiet"]:
                return self._quiet(document(request))
            case "GET", ["clock"]:
                return self._shown_clock()
            case "POST", ["clock"]:
                return self._set_clock(document(request))
        raise no_route(request)

    def _symbol(self, fields: Mapping[str, Any]) -> Symbol:
        named = fields.get("symbol")
        if not isinstance(named, str) or named not in self._exchange.instruments:
            raise BadRequest("symbol must be a listed pair such as BTC/USD")
        return Symbol.parse(named)

    def _price(self, fields: Mapping[str, Any]) -> Reply:
        symbol, price = self._symbol(fields), fields.get("price")
        self._exchange.pin_price(symbol, None if price is None else parse_amount(price))
        return answered({"symbol": symbol, "price": plain(self._exchange.price(symbol)), "pinned": price is not None})

    def _change_market(self, fields: Mapping[str, Any]) -> Reply:
        """`{"symbol": "BTC/USD", "mode": "cancel_only", "largest_market_order": "0.5"}`; null ends the latter."""
        symbol = self._symbol(fields)
        mode, largest = self._read_mode(fields), self._read_largest(fields)
        if mode is not None:
            self._exchange.state.set_market_mode(symbol, mode)
            self._exchange.advance()
        if "largest_market_order" in fields:
            self._exchange.state.set_largest_market_order(symbol, largest)
        largest = self._exchange.instrument(symbol).largest_market_quantity
        return answered(
            {
                "symbol": symbol,
                "mode": self._exchange.mode(symbol),
                "largest_market_order": None if largest is None else plain(largest),
            }
        )

    def _read_mode(self, fields: Mapping[str, Any]) -> MarketMode | None:
        if "mode" not in fields:
            return None
        known = [MarketMode.OPEN, *sorted(self._dialect.market_modes)]
        if fields["mode"] not in known:
            raise BadRequest(f"mode: the markets of this broker can be: {', '.join(known)}")
        return MarketMode(fields["mode"])

    def _read_largest(self, fields: Mapping[str, Any]) -> Decimal | None:
        wanted = fields.get("largest_market_order")
        if wanted is None:
            return None
        if not self._dialect.has_largest_market_order:
            raise BadRequest("largest_market_order: this broker does not limit the size of a market order")
        amount = parse_amount(wanted)
        if amount <= 0:
            raise BadRequest("largest_market_order must be above zero, or null")
        return amount

    def _quiet(self, fields: Mapping[str, Any]) -> Reply:
        """`{"symbol": "BTC/USD", "first_minute": 28000000, "last_minute": 28000004}`; forgotten at a restart."""
        symbol = self._symbol(fields)
        first, last = (fields.get(name) for name in ("first_minute", "last_minute"))
        if not isinstance(first, int) or not isinstance(last, int) or not 0 <= last - first < _MOST_QUIET_MINUTES:
            raise BadRequest(f"first_minute and last_minute must be minutes since 1970, {_MOST_QUIET_MINUTES} at most")
        self._exchange.market.silence(symbol, first, last)
        return answered({"symbol": symbol, "first_minute": first, "last_minute": last})

    def _set_clock(self, fields: Mapping[str, Any]) -> Reply:
        """`{"offset_seconds": -1.5}`: how far the broker's clock is wrong; forgotten at a restart."""
        offset = fields.get("offset_seconds")
        if isinstance(offset, bool) or not isinstance(offset, int | float) or abs(offset) > _MOST_OFFSET_SECONDS:
            raise BadRequest(f"offset_seconds must be a number from -{_MOST_OFFSET_SECONDS} to {_MOST_OFFSET_SECONDS}")
        self._clock.offset = int(offset * _MICROSECONDS)
        return self._shown_clock()

    def _shown_clock(self) -> Reply:
        now, offset = self._exchange.clock(), self._clock.offset
        return answered({"now": now, "offset_seconds": offset / _MICROSECONDS})
