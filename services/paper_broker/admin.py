"""Serves the paper broker's own API under `/paper/`: accounts, keys, order log, faults, market, clock, limits.

Requests and replies are JSON, with amounts as text. The order log and the fills are the ground truth of what happened.
Pages of the logs are cut by sequence number, so a reader goes on where it stopped.
"""

from typing import Any

from services.paper_broker.accounts_api import AccountsApi
from services.paper_broker.dialect import Dialect, Reply, Request
from services.paper_broker.documents import BadRequest, Conflict, NotThere, answered, document, no_route, page
from services.paper_broker.faults import Fault, Faults, InvalidFault
from services.paper_broker.market_api import MarketApi
from services.paper_broker.market_clock_api import MarketClockApi
from services.paper_broker.order_log import shown_fill, shown_order
from shared.domain.errors import InvalidAmount
from shared.exchange.clock import MarketClock, MonotonicClock
from shared.exchange.exchange import Exchange
from shared.exchange.refusals import Refused

PREFIX = "/paper/"


class Admin:
    """Serves `/paper/…`."""

    def __init__(
        self,
        broker: str,
        exchange: Exchange,
        dialect: Dialect,
        faults: Faults,
        clock: MonotonicClock,
        market: MarketClock | None = None,
    ) -> None:
        """`market`: the time of a market in the past."""
        self._broker = broker
        self._exchange = exchange
        self._dialect = dialect
        self._faults = faults
        self._accounts = AccountsApi(exchange, dialect)
        self._market = MarketApi(exchange, dialect, clock)
        self._market_clock = MarketClockApi(exchange, market)

    def answer(self, request: Request) -> Reply:
        """Serve one request: 400 for what is not understood, 404 for what is not there, 409 for what exists."""
        try:
            return self._route(request, request.path[len(PREFIX) :].strip("/").split("/"))
        except (BadRequest, InvalidAmount, InvalidFault, Refused) as error:
            return answered({"error": str(error)}, 400)
        except NotThere as error:
            return answered({"error": str(error)}, 404)
        except Conflict as error:
            return answered({"error": str(error)}, 409)

    def _route(self, request: Request, parts: list[str]) -> Reply:
        match parts[0]:
            case "accounts":
                return self._accounts.route(request, parts[1:])
            case "faults":
                return self._route_faults(request, parts[1:])
            case "price" | "market" | "quiet" | "clock":
                return self._market.route(request, parts)
            case "market-clock":
                return self._market_clock.route(request)
        match request.method, parts:
            case "GET", ["health"]:
                return self._health()
            case "GET", ["orders"]:
                return self._orders(request)
            case "GET", ["fills"]:
                return self._fills(request)
            case "DELETE", ["limits"]:
                # The limits stay in force. Only what was counted until now is forgotten.
                self._dialect.forget_counts()
                return answered({"forgotten": True})
        raise no_route(request)

    def _route_faults(self, request: Request, rest: list[str]) -> Reply:
        match request.method, rest:
            case "GET", []:
                return answered({"faults": [fault.shown() for fault in self._faults.listed()]})
            case "POST", []:
                return answered({"id": self._switch_on(document(request)).fault_id}, 201)
            case "DELETE", []:
                return answered({"deleted": self._faults.clear()})
            case "DELETE", [fault_id]:
                if not self._faults.clear(fault_id):
                    raise NotThere(f"no fault {fault_id}")
                return answered({"deleted": 1})
        raise no_route(request)

    def _switch_on(self, description: dict[str, Any]) -> Fault:
        """Raises InvalidFault, and NotThere when the fault is for an account that does not exist: it would never hit."""
        account = description.get("account")
        if isinstance(account, str):
            self._accounts.named(account)
        return self._faults.switch_on(description)

    def _health(self) -> Reply:
        state = self._exchange.state
        return answered(
            {
                "status": "ok",
                "broker": self._broker,
                "accounts": len(state.accounts),
                "orders": len(state.orders),
                "fills": len(state.fills),
                "open_orders": sum(len(account.open_orders) for account in state.accounts.values()),
                "faults": len(self._faults.active),
            }
        )

    def _orders(self, request: Request) -> Reply:
        since, limit = page(request)
        orders = self._exchange.state.orders[since : since + limit]
        return answered(
            {"orders": [shown_order(order) for order in orders], "next_since_sequence": since + len(orders)}
        )

    def _fills(self, request: Request) -> Reply:
        since, limit = page(request)
        fills = self._exchange.state.fills[since : since + limit]
        return answered({"fills": [shown_fill(fill) for fill in fills], "next_since_sequence": since + len(fills)})
