"""Serves `/paper/market-clock`: the time of a market in the past, which moves when its trader waits.

    GET  market-clock                       where the market stands, and for what its trader waits
    POST market-clock {"wait_for": N}       wait for a moment; the market moves there if all orders are settled
    POST market-clock {"released": N}       the first N orders of the log are settled, with all copies of them

Moments are microseconds since 1970.
"""

from typing import Any

from services.paper_broker.dialect import Reply, Request
from services.paper_broker.documents import BadRequest, NotThere, answered, document, no_route
from shared.exchange.clock import MarketClock
from shared.exchange.exchange import Exchange


class MarketClockApi:
    """The part of the paper broker's own API that moves a market in the past. `clock` is None where there is none."""

    def __init__(self, exchange: Exchange, clock: MarketClock | None) -> None:
        self._exchange = exchange
        self._clock = clock

    def route(self, request: Request) -> Reply:
        clock = self._clock
        if clock is None:
            raise NotThere("this market has the time of the machine; --market-from gives it a time of its own")
        if request.method == "POST":
            self._change(clock, document(request))
        elif request.method != "GET":
            raise no_route(request)
        return answered(
            {
                "now": clock(),
                "until": clock.until,
                "waits_for": clock.waits_for,
                "orders": len(self._exchange.state.orders),
                "released": clock.released,
            }
        )

    def _change(self, clock: MarketClock, fields: dict[str, Any]) -> None:
        match fields:
            case {"wait_for": int(moment), **rest} if not rest:
                if clock.wait_for(moment, len(self._exchange.state.orders)):
                    self._exchange.state.move_market(clock())
                    self._exchange.advance()
            case {"released": int(orders), **rest} if not rest:
                clock.released = orders
            case _:
                raise BadRequest('the body must be {"wait_for": moment} or {"released": number of orders}')
