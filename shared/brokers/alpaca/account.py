"""Turns the port's calls for one Alpaca account into requests of an alpaca-py client, and sends each request once.

Alpaca has no expiry for requests. A client order id can be used only once, ever: an order that is sent again is
refused, and the look-up then finds the first one. Amounts are sent as text, because alpaca-py's own order models would
convert them to floats.
"""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

from alpaca.trading.client import TradingClient

from shared.brokers.alpaca import replies
from shared.brokers.alpaca.errors import NoSuchPath, NotFound
from shared.brokers.alpaca.fees import FeeTier
from shared.brokers.alpaca.history import all_fills, entries, orders_of_fills, orders_since
from shared.brokers.alpaca.hours import TradingHours, hours_or_known
from shared.brokers.alpaca.one_moment import balances_at_one_moment
from shared.brokers.alpaca.replies import OrderFacts
from shared.brokers.alpaca.sending import WRONG_SHAPE, Call, Sender
from shared.brokers.alpaca.symbols import AlpacaSymbols
from shared.brokers.errors import (
    InsufficientFunds,
    KeyRefused,
    NotSent,
    NotVisibleYet,
    OutcomeUnknown,
    Rejected,
    Throttled,
)
from shared.brokers.limits import Budget, units_for
from shared.brokers.port.account import KeyPermissions, MarginReading
from shared.brokers.port.orders import LimitOrder, MarketOrder, OrderReport, OrderRequest
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import plain
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import BrokerOrderId
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol

STEPS_RETRY_SECONDS = 0.3
"""When an order is computed again whose price or quantity was rounded before the tick and the lot were known."""

# `after` is exclusive.
OVERLAP = timedelta(seconds=1)
BEFORE_ALL_ORDERS = datetime(2015, 1, 1, tzinfo=UTC)
# How many orders' facts are remembered. A master's fills are read again with overlap at every poll.
REMEMBERED_ORDERS = 512
# From this many unknown orders on, a list of orders is requested first.
LIST_FROM_ORDERS = 3
# Each page has 500 orders. More pages would mean more orders in an hour than Alpaca lets a key send.
MOST_LOOK_UP_PAGES = 24

LOOK_UP = ("/orders:by_client_order_id", "/orders", "/account/activities/FILL")

_Read = TypeVar("_Read")


class AlpacaListing(Protocol):
    """The part of the connection, apart from the `Sender`, that its accounts share."""

    @property
    def symbols(self) -> AlpacaSymbols: ...

    def tier(self, client: TradingClient) -> FeeTier:
        """The fee tier of the account with this client's key; the first tier until Alpaca has reported one."""
        ...

    def learn_tier(self, client: TradingClient, tier: int | None) -> None: ...

    hours: TradingHours | None
    """The trading hours of stocks, as an account has read them last."""

    async def listed(self, client: TradingClient) -> None:
        """Read the list of assets with this client's key if that is due. Wait a little for a reading under way."""
        ...

    def check_listed(self, client: TradingClient) -> None:
        """Raises Throttled while the list of assets is still to be read, or KeyRefused if this client's key cannot."""
        ...


class AlpacaAccount:
    """Implements `BrokerAccount` for one key of Alpaca."""

    __slots__ = ("_budget", "_client", "_listing", "_malformed_key", "_orders", "_sender", "_unread_fills")

    def __init__(
        self, client: TradingClient, sender: Sender, listing: AlpacaListing, malformed_key: str, budget: Budget | None
    ) -> None:
        """`malformed_key`: what is wrong with the form of the key, so that it need not be sent; or empty."""
        self._client = client
        self._sender = sender
        self._listing = listing
        self._malformed_key = malformed_key
        self._budget = budget
        self._orders: dict[str, OrderFacts] = {}
        self._unread_fills: dict[str, dict[str, Any]] = {}
        """The activities of the last reading whose orders are missing, by activity id."""

    def at(self, priority: Priority) -> "AlpacaAccount":
        """The same account for requests of this priority. It shares all that was learnt."""
        return self._counted_in(self._budget.at(priority) if self._budget else None)

    def _counted_in(self, budget: Budget | None) -> "AlpacaAccount":
        account = copy.copy(self)
        account._budget = budget  # noqa: SLF001 - it is a copy of this object
        return account

    async def place(self, order: OrderRequest) -> BrokerOrderId:
        """Send the order once. A stock is sold only up to the free quantity: Alpaca would sell the rest short."""
        self._check_key()
        await self._check_steps(order)
        symbols = self._listing.symbols
        wire_name = symbols.wire_name(order.symbol)
        if wire_name is None:
            raise Rejected(f"Alpaca does not list {order.symbol}")
        kind = _kind(order, symbols)
        if order.side is Side.SELL and not symbols.is_crypto(order.symbol):
            await self._check_held(order)
        body = {
            "symbol": wire_name,
            "qty": plain(order.quantity),
            "side": order.side.value,
            "client_order_id": order.client_order_id,
            **kind,
        }
        call = Call("POST", "/orders", body, valid_until=order.valid_until)
        return await self._send(call, replies.placed_order_id)

    async def order(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> OrderReport:  # noqa: ARG002  # the port's
        try:
            return await self._send(Call("GET", f"/orders/{broker_order_id}"), self._report)
        except Rejected as error:
            # Alpaca issued this id, so the order exists and is only not visible yet.
            raise NotVisibleYet(f"order {broker_order_id} cannot be read: {error}") from error

    async def look_up(self, client_order_id: str, symbol: Symbol, since: datetime) -> OrderReport | None:  # noqa: ARG002
        """Search by client order id, then in the list of orders, then among the orders of the account's fills.

        Searching by id never creates a second order.
        """
        async with units_for(self._budget, "GET", LOOK_UP, {}) as budget:
            return await self._counted_in(budget).search(client_order_id, since)

    async def search(self, client_order_id: str, since: datetime) -> OrderReport | None:
        """Look the order up within a budget that has reserved the units."""
        call = Call("GET", "/orders:by_client_order_id", {"client_order_id": client_order_id})
        try:
            return await self._send(call, lambda reply: _same_order(self._report(reply), client_order_id))
        except (NotFound, NoSuchPath):
            pass
        listed = await orders_since(self._read_list, since - OVERLAP, MOST_LOOK_UP_PAGES)
        fills = await all_fills(self._read_list, since - OVERLAP)
        try:
            behind = await orders_of_fills(
                self._read_list, self._read_order, fills, {order["id"] for order in listed}, list_from=len(fills) + 1
            )
            named = [
                self._report(order)
                for order in (*listed, *behind.values())
                if order.get("client_order_id") == client_order_id
            ]
            reported = behind.keys() | {order["id"] for order in listed}
            unseen = next((fill["order_id"] for fill in fills if fill["order_id"] not in reported), None)
        except WRONG_SHAPE as error:
            raise OutcomeUnknown(f"Alpaca's orders cannot be read: {error!r}"[:300]) from error
        if not named and unseen is not None:
            raise NotVisibleYet(f"order {unseen} was executed, but Alpaca does not return it yet: it may be this one")
        return named[0] if named else None

    async def open_orders(self) -> list[OrderReport]:
        listed = await orders_since(self._read_list, BEFORE_ALL_ORDERS, MOST_LOOK_UP_PAGES, status="open")
        try:
            # Orders of several legs have no side of their own. Options are not supported, so both are left out.
            return [self._report(order) for order in listed if order.get("side") and order.get("symbol")]
        except WRONG_SHAPE as error:
            raise OutcomeUnknown(f"Alpaca's orders cannot be read: {error!r}"[:300]) from error

    async def cancel(self, broker_order_id: BrokerOrderId, symbol: Symbol) -> None:  # noqa: ARG002  # the port's
        """Cancel the order. Raises Rejected when there is nothing to cancel, or no longer."""
        await self._send(Call("DELETE", f"/orders/{broker_order_id}"), lambda _: None)

    async def balances(self) -> dict[str, Balance]:
        """Cash and positions. The amount that open orders hold is part of the total, but not of the free amount."""
        symbols = self._listing.symbols
        return await balances_at_one_moment(
            lambda: self._send(Call("GET", "/account"), self._cash),
            lambda: self._send(Call("GET", "/positions"), lambda reply: replies.positions(_list(reply), symbols)),
        )

    async def margin(self) -> MarginReading | None:
        """Equity and margin of the account, and what its positions have cost; None when the account cannot borrow."""
        account = await self._send(Call("GET", "/account"), _object)
        positions = await self._send(Call("GET", "/positions"), _list)
        try:
            return replies.margin(account, positions, self._listing.symbols)
        except WRONG_SHAPE as error:
            raise OutcomeUnknown(f"Alpaca's account cannot be read: {error!r}"[:300]) from error

    async def fills_since(self, since: datetime) -> list[AccountFill]:
        activities = await all_fills(self._read_list, since - OVERLAP)
        try:
            symbols, tier = self._listing.symbols, self._listing.tier(self._client)
            fills = [
                replies.account_fill(activity, self._orders.get(activity["order_id"], OrderFacts()), symbols, tier)
                for activity in activities
            ]
            self._unread_fills.clear()
            for activity, fill in zip(activities, fills, strict=True):
                if fill.order_id not in self._orders and symbols.is_crypto(fill.symbol):
                    self._unread_fills[fill.fill_id] = activity
        except WRONG_SHAPE as error:
            raise OutcomeUnknown(f"Alpaca's fills cannot be read: {error!r}"[:300]) from error
        return sorted(
            (fill for fill in fills if fill.executed_at >= since), key=lambda fill: (fill.executed_at, fill.fill_id)
        )

    async def learn_fees(self) -> None:
        """Read the orders of new fills of coins. They show whether a fill pays the maker's rate. Stocks have no fee."""
        activities = list(self._unread_fills.values())
        try:
            orders = await orders_of_fills(
                self._read_list, self._read_order, activities, self._orders, LIST_FROM_ORDERS
            )
            # An order that Alpaca no longer has counts as a market order.
            gone = {activity["order_id"]: OrderFacts() for activity in activities}
            self._remember(gone | {order_id: replies.order_facts(reply) for order_id, reply in orders.items()})
        except WRONG_SHAPE as error:
            raise OutcomeUnknown(f"Alpaca's orders cannot be read: {error!r}"[:300]) from error
        self._unread_fills.clear()

    def knows_fee(self, fill: AccountFill) -> bool:
        return fill.order_id in self._orders or not self._listing.symbols.is_crypto(fill.symbol)

    async def key_permissions(self) -> KeyPermissions:
        """Whether the account may trade. Alpaca reports nothing about keys, so every key counts as "may withdraw".

        Raises KeyRefused for a key that does not work at all. Raises RateLimited and NotSent, too.
        """
        try:
            return await self._send(Call("GET", "/account"), replies.key_permissions)
        except (Rejected, OutcomeUnknown):
            return KeyPermissions(may_trade=True, may_withdraw=True, answered=False)

    async def closed_until(self, symbol: Symbol) -> datetime | None:
        """When the closed stock market opens again; None while it is open, and for coins, which trade day and night."""
        if self._listing.symbols.is_crypto(symbol):
            return None
        now = datetime.now(UTC)
        hours = self._listing.hours
        if hours is None or now >= hours.known_until:
            clock = self._send(Call("GET", "/clock"), lambda reply: TradingHours.of_clock(reply, now))
            hours = self._listing.hours = await hours_or_known(clock, hours, now)
        return hours.opens_at

    def _check_key(self) -> None:
        if self._malformed_key:
            raise KeyRefused(self._malformed_key)

    async def _check_steps(self, order: OrderRequest) -> None:
        """Raises Throttled when the order was not rounded by the tick and the lot that the list of assets names.

        Before the list is read, both are only assumed. The caller computes the order again and sends again. It is no
        trouble of the broker, so it must not count as one. A sale does not wait for a list that cannot be read.
        """
        await self._listing.listed(self._client)
        if order.side is Side.BUY:
            self._listing.check_listed(self._client)
        instrument = self._listing.symbols.instruments.get(order.symbol)
        if instrument is None:
            return
        if isinstance(order, LimitOrder) and instrument.limit_price(order.limit_price, order.side) != order.limit_price:
            text = f"not sent: {plain(order.limit_price)} is not on the tick of {plain(instrument.price_tick)}"
            raise Throttled(text, STEPS_RETRY_SECONDS)
        if instrument.rounded(order.quantity) != order.quantity:
            text = f"not sent: {plain(order.quantity)} is not a multiple of the lot {plain(instrument.lot)}"
            raise Throttled(text, STEPS_RETRY_SECONDS)

    async def _check_held(self, order: OrderRequest) -> None:
        """Raises InsufficientFunds when the free quantity of the stock is smaller than the order."""
        symbols = self._listing.symbols
        base = order.symbol.base
        call = Call("GET", "/positions", valid_until=order.valid_until)
        try:
            holdings = await self._send(call, lambda reply: replies.positions(_list(reply), symbols))
        except OutcomeUnknown as error:
            raise NotSent(f"not sent, for it is not known what can be sold: {error}") from error
        held = holdings.get(base)
        if held is None or held.free < order.quantity:
            raise InsufficientFunds(f"not sent: {held.free if held else 0} {base} free, {order.quantity} to be sold")

    def _report(self, reply: Any) -> OrderReport:
        return replies.order_report(reply, self._listing.symbols, self._listing.tier(self._client))

    def _cash(self, reply: Any) -> tuple[str, Balance]:
        self._listing.learn_tier(self._client, replies.crypto_tier(reply))
        return replies.cash(reply)

    async def _read_list(self, path: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
        return await self._send(Call("GET", path, parameters), entries)

    async def _read_order(self, order_id: str) -> dict[str, Any] | None:
        try:
            return await self._send(Call("GET", f"/orders/{order_id}"), _object)
        except NotFound:
            return None

    def _remember(self, orders: dict[str, OrderFacts]) -> None:
        self._orders.update(orders)
        while len(self._orders) > REMEMBERED_ORDERS + len(orders):
            del self._orders[next(iter(self._orders))]

    async def _send(self, call: Call, read: Callable[[Any], _Read]) -> _Read:
        self._check_key()
        return await self._sender.send(self._client, call, read, self._budget)


def _kind(order: OrderRequest, symbols: AlpacaSymbols) -> dict[str, str]:
    """The fields of a request that make it a market or a limit order. Raises Rejected."""
    if isinstance(order, MarketOrder):
        # Fractions of shares can only be traded with a day order. Coins trade day and night.
        return {"type": "market", "time_in_force": "gtc" if symbols.is_crypto(order.symbol) else "day"}
    allowed = symbols.instruments[order.symbol].times_in_force(order.quantity)
    if order.time_in_force not in allowed:
        known = " or ".join(sorted(each.value for each in allowed))
        raise Rejected(
            f"Alpaca lets {plain(order.quantity)} {order.symbol} wait for {known}, not {order.time_in_force.value}"
        )
    return {"type": "limit", "limit_price": plain(order.limit_price), "time_in_force": order.time_in_force.value}


def _same_order(report: OrderReport, client_order_id: str) -> OrderReport:
    if report.client_order_id not in (None, client_order_id):
        raise ValueError(f"the reply is another order: {report.client_order_id}")
    return report


def _object(reply: Any) -> dict[str, Any]:
    if not isinstance(reply, dict):
        raise TypeError(f"the reply is a {type(reply).__name__}")
    return reply


def _list(reply: Any) -> list[Any]:
    if not isinstance(reply, list):
        raise TypeError(f"the reply is a {type(reply).__name__}")
    return reply
