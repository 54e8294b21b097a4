"""Runs the strategy's executor on a real Redis and PostgreSQL, with a worker whose account is in memory.

A test may let the process die at any call, and start another one. The bookkeeper is the real one.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from services.strategy_trader.execution.executor import StrategyExecutor, TradedAccount
from shared.domain.capital.execution import ExecutionPlan, IcebergPlan, LimitPlan, Slice, TwapPlan
from shared.domain.capital.recommendation import Approved, Entry, approve
from shared.domain.copying.open_limits import OpenLimits
from shared.domain.fill import Side
from shared.domain.identity import Broker, DecisionId
from shared.domain.instrument import Instrument
from shared.domain.market_data import BookLevel, OrderBook
from shared.domain.strategy.execution.results import ExecutionResult, StrategySale
from shared.domain.symbol import Symbol
from shared.messaging.cancellation import end_tasks
from shared.messaging.scripts import ScriptRunner
from shared.messaging.strategy_mail import StrategyMail
from shared.persistence.strategy.books import StrategyBooks
from tests.support.examples import an_instrument
from tests.support.faulty_broker import ProcessDied
from tests.support.running.restore_world import KEYS, RestoreWorld
from tests.support.strategy_orders import MASTER

BTC = Symbol.parse("BTC/USD")


def approved_entry(plan: ExecutionPlan) -> Approved[Entry]:
    """An entry that the gate has approved with this plan."""
    return approve(
        Entry(
            instrument=plan.instrument,
            side=plan.side,
            quantity=plan.quantity,
            size=plan.quantity * 50_000,
            leverage=Decimal(1),
            margin=plan.quantity * 50_000,
            plan=plan,
        )
    )


def limit_plan(quantity: str = "0.1", instrument: Instrument | None = None) -> LimitPlan:
    """A purchase of 0.1 BTC."""
    return LimitPlan(instrument=instrument or an_instrument(), side=Side.BUY, quantity=Decimal(quantity))


def twap_plan_of(slices: int = 3, every_seconds: float = 0.3, quantity: str = "0.3") -> TwapPlan:
    """A purchase of 0.3 BTC in slices that begin now."""
    now, whole = datetime.now(UTC), Decimal(quantity)
    parts = tuple(Slice(now + timedelta(seconds=index * every_seconds), whole / slices) for index in range(slices))
    return TwapPlan(instrument=an_instrument(), side=Side.BUY, quantity=whole, slices=parts)


def iceberg_plan_of(
    quantity: str = "0.3", visible: str = "0.1", since_seconds: float = 0, **times: timedelta
) -> IcebergPlan:
    """A purchase of 0.3 BTC that shows 0.1, and began some seconds ago. `times`: `requote_every` and `lasts`."""
    starts_at = datetime.now(UTC) - timedelta(seconds=since_seconds)
    return IcebergPlan(
        instrument=an_instrument(),
        side=Side.BUY,
        quantity=Decimal(quantity),
        visible=Decimal(visible),
        starts_at=starts_at,
        **times,
    )


def a_sale_of(quantity: str = "0.1") -> StrategySale:
    """A sale of 0.1 BTC."""
    return StrategySale(instrument=an_instrument(), quantity=Decimal(quantity))


@dataclass
class ExecutorBench:
    """One master account that the strategy trades."""

    world: RestoreWorld
    dies_at: tuple[str, str, int] | None = None
    """The next process dies before or after the n-th call of this method of its books or its mail."""
    books_read: int = 0
    fails: list[BaseException | None] = field(default_factory=list)
    """For readings of the order book, in order; None: this one goes well."""

    @property
    def books(self) -> StrategyBooks:
        return StrategyBooks(self.world.engine, Broker.KRAKEN, MASTER)

    def executor(self) -> StrategyExecutor:
        """A new process."""
        redis = self.world.redis
        books, mail = self.books, StrategyMail(redis, ScriptRunner(redis), KEYS)
        if self.dies_at is not None:
            name, moment, call = self.dies_at
            of = mail if hasattr(mail, name) else books
            setattr(of, name, _dying(getattr(of, name), moment, call))
            self.dies_at = None
        account = TradedAccount(Broker.KRAKEN, MASTER, OpenLimits())
        return StrategyExecutor(account, books, mail, read_book=self._read_book, hint=lambda: None)

    async def _read_book(self, symbol: Symbol) -> OrderBook:
        self.books_read += 1
        error = self.fails.pop(0) if self.fails else None
        if error is not None:
            raise error
        ask = self.world.bench.account.ask
        asks, bids = (BookLevel(ask, Decimal(100)),), (BookLevel(ask - 10, Decimal(100)),)
        return OrderBook(symbol=symbol, bids=bids, asks=asks, at=datetime.now(UTC))

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Let a worker serve, and a bookkeeper write, meanwhile. What an earlier worker had claimed is free again."""
        for name in await self.world.redis.zrange(KEYS.claims, 0, -1):
            await self.world.redis.zadd(KEYS.claims, {name: 0})
        mailboxes = self.world.bench.mailboxes
        await mailboxes.sweep(limit=100, account_reads=0, account_read_again_ms=60_000, overdue_ms=60_000)

        async def work() -> None:
            while True:
                await self.world.bench.serve_once()
                await self.world.book()
                await asyncio.sleep(0.02)

        task = asyncio.create_task(work())
        try:
            yield
        finally:
            await end_tasks(task)

    async def run(self, work: Callable[[StrategyExecutor], Awaitable[Any]]) -> Any:
        """Do the work in a new process. None: the process died."""
        async with self.at_work(), asyncio.timeout(60):
            try:
                return await work(self.executor())
            except ProcessDied:
                return None

    async def enter(self, decision_id: str, plan: ExecutionPlan, *, at_market: bool = False) -> Any:
        entry = approved_entry(plan)
        return await self.run(lambda each: each.enter(DecisionId(decision_id), entry, at_market=at_market))

    async def sell(self, decision_id: str, sale: StrategySale) -> ExecutionResult:
        result: ExecutionResult = await self.run(lambda each: each.sell(DecisionId(decision_id), sale))
        return result

    def executed(self) -> Counter[str]:
        """How often the broker executed each client order id."""
        return self.world.executed()

    def quantity_executed(self) -> Decimal:
        """What the broker executed in all."""
        return sum((report.filled_quantity for report in self.world.bench.account.executed), Decimal(0))


async def resumed(executor: StrategyExecutor) -> list[ExecutionResult]:
    """Go on with all that an earlier process began and did not end."""
    begun = await asyncio.to_thread(executor.under_way)
    return await asyncio.gather(*(executor.go_on(each.decision_id) for each in begun))


def _dying(method: Callable[..., Any], moment: str, call: int) -> Callable[..., Any]:
    """The method, of which a call kills the process."""
    calls = 0
    is_async = asyncio.iscoroutinefunction(method)

    def counted() -> bool:
        nonlocal calls
        calls += 1
        return calls == call

    async def later(*arguments: Any, **named: Any) -> Any:
        dies = counted()
        if dies and moment == "before":
            raise ProcessDied
        result = await method(*arguments, **named)
        if dies:
            raise ProcessDied
        return result

    def at_once(*arguments: Any, **named: Any) -> Any:
        dies = counted()
        if dies and moment == "before":
            raise ProcessDied
        result = method(*arguments, **named)
        if dies:
            raise ProcessDied
        return result

    return later if is_async else at_once
