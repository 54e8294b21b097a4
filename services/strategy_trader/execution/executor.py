"""Executes the decisions of the strategy on one master account, through the account's own mailbox.

The schedule is pure (`schedule.py`), and PostgreSQL has everything that it needs. This file reads the order book, stores
the next order, puts it into the mailbox, and waits until the ledger says how it ended. It decides nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import structlog

from services.strategy_trader.patience import patiently
from shared.domain.capital.recommendation import Approved, Entry
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.fill import Side
from shared.domain.identity import Broker, DecisionId, MasterAccount, strategy_order_id
from shared.domain.market_data import OrderBook
from shared.domain.strategy.execution.orders import StrategyOrder
from shared.domain.strategy.execution.plans import MarketPlan, SalePlan, StrategyPlan
from shared.domain.strategy.execution.results import (
    ExecutionPurpose,
    ExecutionResult,
    ExecutionUnderWay,
    NotBegun,
    StrategySale,
)
from shared.domain.strategy.execution.schedule import (
    EndExecution,
    FollowChild,
    PlaceChild,
    ReadBook,
    SleepUntil,
    StrategyChild,
    StrategyExecution,
    next_move,
)
from shared.domain.symbol import Symbol
from shared.messaging.strategy_mail import StrategyMail
from shared.persistence.strategy.books import StrategyBooks

T = TypeVar("T")

POLL_SECONDS: Final = 0.25
"""Between two readings of the ledger, until it has the end of an order."""
LONGEST_SLEEP: Final = timedelta(seconds=1)
"""While no order is due. A sale that ends the entry is noticed after this time."""

log = structlog.get_logger()


class ShortNotExecuted(NotBegun):
    """nija opens no short positions: the entry is a sale."""


@dataclass(frozen=True, slots=True)
class TradedAccount:
    """A master account that the strategy trades, and the limits of orders there."""

    broker: Broker
    name: MasterAccount
    limits: OpenLimits


class StrategyExecutor:
    """The orders of the strategy on one master account. One process at a time uses it, by the trader's lease."""

    def __init__(
        self,
        account: TradedAccount,
        books: StrategyBooks,
        mail: StrategyMail,
        *,
        read_book: Callable[[Symbol], Awaitable[OrderBook]],
        hint: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`read_book` may raise BrokerError. `hint` wakes a worker of the broker; it may block, and may fail.

        `now` is the present by the broker's clock, because workers compare the ages of entries with that clock.
        """
        self._account = account
        self._books = books
        self._mail = mail
        self._read_book = read_book
        self._hint = hint
        self._now = now
        self._sleep = sleep
        self._put: set[str] = set()
        """The orders that are certainly in the mailbox, or were."""

    async def enter(
        self, decision_id: DecisionId, approved: Approved[Entry], *, at_market: bool = False
    ) -> ExecutionResult:
        """Execute an approved entry by its plan, or `at_market` in one order. Return when it has ended.

        A repeated call with the same decision goes on with what was begun, or returns the stored result. Cancel the
        call to stop: the process that calls `go_on` goes on. Only cancelling and defects end it early: while Redis,
        PostgreSQL or the broker is away, it waits. Raises ShortNotExecuted before anything is stored.
        """
        entry = approved.value
        if entry.side is not Side.BUY:
            raise ShortNotExecuted(f"{entry.instrument.symbol}: nija opens no short positions")
        plan: StrategyPlan = entry.plan
        if at_market:
            margin = self._account.limits.margin_of(entry.instrument)
            plan = MarketPlan(instrument=entry.instrument, side=entry.side, quantity=entry.quantity, margin=margin)
        return await self._execute(decision_id, plan)

    async def sell(self, decision_id: DecisionId, sale: StrategySale) -> ExecutionResult:
        """Sell at the market what the strategy holds, up to the quantity of the sale. Otherwise like `enter`.

        An entry of the same symbol that is under way ends.
        """
        return await self._execute(decision_id, SalePlan(instrument=sale.instrument, quantity=sale.quantity))

    def under_way(self) -> Sequence[ExecutionUnderWay]:
        """Return what an earlier process began and did not end. It blocks, and raises DatabaseUnavailable."""
        return self._books.under_way()

    async def go_on(self, decision_id: DecisionId) -> ExecutionResult:
        """Make the moves of the schedule until an execution that has begun has ended. While a server is away, it waits."""
        while (result := await self._patiently(lambda: asyncio.to_thread(self._books.result, decision_id))) is None:
            await self._patiently(lambda: self._turn(decision_id))
        log.info(
            "execution ended",
            decision=decision_id,
            symbol=result.symbol,
            side=result.side.value,
            filled=str(result.filled_quantity),
            orders=len(result.fills),
            left=result.message or None,
        )
        return result

    async def _execute(self, decision_id: DecisionId, plan: StrategyPlan) -> ExecutionResult:
        await self._patiently(lambda: asyncio.to_thread(self._books.begin, decision_id, plan, self._now()))
        return await self.go_on(decision_id)

    async def _turn(self, decision_id: DecisionId) -> None:
        """Make one move of the schedule, from what the ledger has."""
        execution = await asyncio.to_thread(self._books.execution, decision_id)
        move = next_move(execution, self._now())
        if isinstance(move, ReadBook):
            book = await self._read_book(execution.plan.instrument.symbol)
            move = next_move(execution, self._now(), book)
        now = self._now()
        match move:
            case PlaceChild() as child:
                await self._place(execution, child, now)
            case FollowChild(child):
                await self._follow(decision_id, child)
            case SleepUntil(at):
                await self._sleep(min(max(at - now, timedelta()), LONGEST_SLEEP).total_seconds())
            case EndExecution(message):
                await asyncio.to_thread(self._books.end, decision_id, message, now)

    async def _place(self, execution: StrategyExecution, child: PlaceChild, now: datetime) -> None:
        """Store the order, then put it into the mailbox. A process that is killed in between puts it later."""
        plan, account = execution.plan, self._account
        order = StrategyOrder(
            id=strategy_order_id(account.broker, account.name, execution.decision_id, child.number),
            broker=account.broker,
            master_account=account.name,
            decision_id=execution.decision_id,
            number=child.number,
            purpose=ExecutionPurpose.EXIT if isinstance(plan, SalePlan) else ExecutionPurpose.ENTRY,
            symbol=plan.instrument.symbol,
            side=plan.side,
            quantity=child.quantity,
            limit_price=child.limit_price,
            time_in_force=child.time_in_force,
            placed_at=now,
            expires_at=now + child.lasts,
            decided_at=now,
        )
        # Read before the order is stored: a restore that finds it in the ledger writes a new version.
        roster_version = await self._mail.roster_version()
        await asyncio.to_thread(self._books.add_order, order)
        if await self._mail.put(order, roster_version):
            self._put.add(order.id)
            await self._wake()

    async def _follow(self, decision_id: DecisionId, child: StrategyChild) -> None:
        """Wait a moment for the end of an order. See to it first that the mailbox has it, or had it."""
        account = self._account
        if strategy_order_id(account.broker, account.name, decision_id, child.number) not in self._put:
            order = await asyncio.to_thread(self._books.order, decision_id, child.number, self._now())
            await self._mail.put(order, None)
            self._put.add(order.id)
            await self._wake()
        await self._sleep(POLL_SECONDS)

    async def _wake(self) -> None:
        """Wake a worker. The sweep replaces a hint that is lost."""
        try:
            await asyncio.to_thread(self._hint)
        except Exception as error:  # noqa: BLE001  kombu raises many; none of them matters
            log.warning("hint not sent", error=str(error) or type(error).__name__)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        return await patiently(work, self._sleep)
