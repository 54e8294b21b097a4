"""Simulates an account at a broker that answers badly: each order meets the next fate on the list.

Honest otherwise: an order is executed once, not after its validity, never beyond the coins that are there, and is
found by its client order id as soon as the broker shows it. What it executed is the truth that tests compare with.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import partial
from itertools import count

from shared.brokers.errors import (
    BrokerError,
    Expired,
    InsufficientFunds,
    InvalidNonce,
    KeyRefused,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Rejected,
)
from shared.brokers.port.account import BrokerAccount, KeyPermissions
from shared.brokers.port.orders import LimitOrder, OrderReport, OrderRequest, OrderStatus
from shared.domain.accounts.equity import Balance
from shared.domain.amounts import ZERO
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import BrokerOrderId
from shared.domain.instrument import TimeInForce
from shared.domain.request_limits import Priority

PRICE = Decimal(50000)


class Fate(StrEnum):
    """What becomes of an order that is placed."""

    FILLED = "filled"
    FILLED_REPLY_LOST = "filled, but the reply is lost"
    FILLED_RATE_LIMITED = "filled, but the reply says that there were too many requests"
    FILLED_LATE = "no reply, and executed at the last moment of its validity"
    LOST = "no reply, and never executed"
    OPEN = "accepted, executed after some reads"
    PARTIAL = "half is executed, the rest is canceled"
    CANCELED = "accepted and canceled without any execution"
    INVALID_NONCE = "refused: nonce"
    EXPIRED = "refused: deadline"
    RATE_LIMITED = "perhaps refused: too many requests"
    SURELY_RATE_LIMITED = "certainly refused: too many requests"
    NOT_SENT = "no connection"
    INSUFFICIENT = "refused: funds"
    REJECTED = "refused for another reason"
    KEY_REFUSED = "refused: key"


EXECUTED = frozenset(
    {
        Fate.FILLED,
        Fate.FILLED_REPLY_LOST,
        Fate.FILLED_RATE_LIMITED,
        Fate.FILLED_LATE,
        Fate.OPEN,
        Fate.PARTIAL,
    }
)

_ANSWERS: dict[Fate, Callable[[str], BrokerError]] = {
    Fate.FILLED_REPLY_LOST: OutcomeUnknown,
    Fate.FILLED_LATE: OutcomeUnknown,
    Fate.FILLED_RATE_LIMITED: RateLimited,
    Fate.LOST: OutcomeUnknown,
    Fate.INVALID_NONCE: InvalidNonce,
    Fate.EXPIRED: Expired,
    Fate.RATE_LIMITED: RateLimited,
    Fate.SURELY_RATE_LIMITED: partial(RateLimited, certainly_refused=True),
    Fate.NOT_SENT: NotSent,
    Fate.INSUFFICIENT: InsufficientFunds,
    Fate.REJECTED: Rejected,
    Fate.KEY_REFUSED: KeyRefused,
}


class ProcessDied(BaseException):
    """The worker ended here, without a word."""


@dataclass
class BookedOrder:
    """An order that the broker took."""

    report: OrderReport
    visible_at: datetime
    reads_until_done: int = 0
    is_waiting: bool = False
    """Waits in the book until it is canceled. What is executed of it is in the report."""


@dataclass
class FaultyAccount:
    """Implements `BrokerAccount`. Fates and read errors are used up in order; then all goes well."""

    fates: list[Fate] = field(default_factory=list)
    free: dict[str, Decimal] = field(default_factory=lambda: {"BTC": Decimal(10), "USD": Decimal(10**6)})
    fee_in_coin: Decimal = ZERO
    hidden_seconds: float = 0.0
    """How long an executed order stays invisible to look-ups."""
    reads_until_done: int = 3
    ask: Decimal = PRICE
    """The price at which coins are offered. A limit order below it buys nothing."""
    offered: Decimal | None = None
    """How many coins are offered to each limit order. None: more than any order wants."""
    opens_at: datetime | None = None
    """When the market opens. None: it is open."""
    cancel_errors: list[BrokerError | None] = field(default_factory=list)
    """For cancellations, in the order of the calls; None: this one goes well."""
    read_errors: list[BrokerError | None] = field(default_factory=list)
    """For order reads, look-ups, open orders and balances, in the order of the calls; None: this one goes well."""
    locked: dict[str, Decimal] = field(default_factory=dict)
    """In open orders; not part of `free`."""
    resting: list[OrderReport] = field(default_factory=list)
    """Open orders besides those that were placed here."""
    canceled: list[str] = field(default_factory=list)
    """Orders whose cancellation was asked for."""
    dies_after_place: bool = False
    placed: list[OrderRequest] = field(default_factory=list)
    lookups: list[datetime] = field(default_factory=list)
    """From when on each look-up searched."""
    booked: dict[str, BookedOrder] = field(default_factory=dict)
    reads: int = 0
    """How often the balances were read."""
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def at(self, priority: Priority) -> "FaultyAccount":
        """The same account, because nothing is limited here."""
        return self

    @property
    def executed(self) -> list[OrderReport]:
        """Every order with an execution, visible or not."""
        return [order.report for order in self.booked.values() if order.report.filled_quantity]

    async def place(self, order: OrderRequest) -> BrokerOrderId:
        self.placed.append(order)
        fate = self.fates.pop(0) if self.fates else Fate.FILLED
        if datetime.now(UTC) > order.valid_until:
            raise Expired("deadline elapsed")
        if fate in EXECUTED or fate is Fate.CANCELED:
            if order.side is Side.SELL and order.quantity > self.free.get("BTC", ZERO):
                raise InsufficientFunds("not that many coins")
            broker_order_id = self._book(order, fate)
            if self.dies_after_place:
                self.dies_after_place = False
                raise ProcessDied
        if fate in _ANSWERS:
            raise _ANSWERS[fate](fate.value)
        return broker_order_id

    def _book(self, order: OrderRequest, fate: Fate) -> BrokerOrderId:
        filled = min(
            {Fate.CANCELED: ZERO, Fate.PARTIAL: order.quantity / 2}.get(fate, order.quantity), self._available(order)
        )
        broker_order_id = BrokerOrderId(f"O{next(self._numbers)}")
        report = OrderReport(
            broker_order_id=broker_order_id,
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=order.side,
            status=OrderStatus.DONE,
            quantity=order.quantity,
            limit_price=order.limit_price if isinstance(order, LimitOrder) else None,
            filled_quantity=filled,
            cost=filled * self.ask,
            fee=filled * self.fee_in_coin if order.side is Side.BUY else ZERO,
            fee_currency="BTC",
            reason="canceled by the broker" if fate in (Fate.CANCELED, Fate.PARTIAL) else "",
        )
        executed_at = order.valid_until if fate is Fate.FILLED_LATE else datetime.now(UTC)
        visible_at = executed_at + timedelta(seconds=self.hidden_seconds)
        reads = self.reads_until_done if fate is Fate.OPEN else 0
        is_waiting = (
            isinstance(order, LimitOrder)
            and order.time_in_force is not TimeInForce.IMMEDIATE_OR_CANCEL
            and filled < order.quantity
        )
        self.booked[broker_order_id] = BookedOrder(report, visible_at, reads, is_waiting)
        sign = 1 if order.side is Side.BUY else -1
        self.free["BTC"] = self.free.get("BTC", ZERO) + sign * filled - report.fee
        return broker_order_id

    def _available(self, order: OrderRequest) -> Decimal:
        """How much of the order the book executes at once."""
        if not isinstance(order, LimitOrder):
            return order.quantity
        if order.limit_price < self.ask:
            return ZERO
        return order.quantity if self.offered is None else min(order.quantity, self.offered)

    def _seen(self, order: BookedOrder) -> OrderReport:
        """An open order is done after so many reads, or when it is canceled."""
        if order.is_waiting:
            return order.report.model_copy(update={"status": OrderStatus.OPEN})
        if order.reads_until_done == 0:
            return order.report
        order.reads_until_done -= 1
        return order.report.model_copy(update={"status": OrderStatus.OPEN, "filled_quantity": ZERO})

    def _fail_as_told(self) -> None:
        error = self.read_errors.pop(0) if self.read_errors else None
        if error is not None:
            raise error

    async def order(self, broker_order_id: BrokerOrderId, symbol: str) -> OrderReport:
        self._fail_as_told()
        return self._seen(self.booked[broker_order_id])

    async def look_up(self, client_order_id: str, symbol: str, since: datetime) -> OrderReport | None:
        self.lookups.append(since)
        self._fail_as_told()
        now = datetime.now(UTC)
        for order in self.booked.values():
            if order.report.client_order_id == client_order_id and order.visible_at <= now:
                return self._seen(order)
        return None

    async def open_orders(self) -> list[OrderReport]:
        self._fail_as_told()
        under_way = [order.report for order in self.booked.values() if order.reads_until_done or order.is_waiting]
        return [*(report.model_copy(update={"status": OrderStatus.OPEN}) for report in under_way), *self.resting]

    async def cancel(self, broker_order_id: BrokerOrderId, symbol: str) -> None:
        self.canceled.append(broker_order_id)
        error = self.cancel_errors.pop(0) if self.cancel_errors else None
        if error is not None:
            raise error
        booked = self.booked.get(broker_order_id)
        if booked is not None and booked.is_waiting:
            booked.is_waiting = False
            booked.report = booked.report.model_copy(update={"reason": "canceled"})
            return
        found = [order for order in self.resting if order.broker_order_id == broker_order_id]
        if not found:
            raise Rejected("no longer open")
        self.resting.remove(found[0])

    async def balances(self) -> dict[str, Balance]:
        self.reads += 1
        self._fail_as_told()
        return {
            currency: Balance(free=free, total=free + self.locked.get(currency, ZERO))
            for currency, free in self.free.items()
        }

    async def closed_until(self, symbol: str) -> datetime | None:
        return self.opens_at

    async def fills_since(self, since: datetime) -> list[AccountFill]:
        return []

    async def key_permissions(self) -> KeyPermissions:
        return KeyPermissions(may_trade=True, may_withdraw=False)


def _implements_the_port(account: FaultyAccount) -> BrokerAccount:
    # For the type checker: a change of the port that the fake does not follow is an error here.
    return account
