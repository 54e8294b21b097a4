"""Lets the trader of a master account at a paper Alpaca run short of margin, on real Redis, PostgreSQL and worker.

The account and its prices are read when a test says so. The worker and the bookkeeper are processes. A trader in the
process of the test has the real dealer, executor and margin check, and may die where a test says so.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from services.master_trader.sample_capital import sample
from services.strategy_trader.dealer import Dealer
from services.strategy_trader.execution.executor import StrategyExecutor, TradedAccount
from services.strategy_trader.margin import MarginChange, MarginWatch
from services.strategy_trader.venue import BrokerVenue
from shared.domain.accounts.master_state import MasterState
from shared.domain.amounts import ZERO
from shared.domain.capital.execution import LimitPlan
from shared.domain.capital.margin import MarginActionState
from shared.domain.fill import Side
from shared.domain.identity import Broker, DecisionId
from shared.domain.instrument import Instrument
from shared.domain.market_data import OrderBook
from shared.domain.symbol import Symbol
from shared.messaging.celery_app import HintPublisher
from shared.messaging.connection.epoch import guarded_redis
from shared.messaging.keys import LAST_POLL_FIELD
from shared.messaging.scripts import ScriptRunner
from shared.messaging.strategy_mail import StrategyMail
from shared.persistence.capital import CapitalStore
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.strategy.books import StrategyBooks
from shared.persistence.strategy.keys import MasterKeys
from shared.persistence.traders import TraderBooks, TraderStore
from shared.queries.capital.overview import read_margin
from tests.contract.paper import PaperServer
from tests.support.running.capital_bench import MASTER, CapitalBench, capital_bench_of
from tests.support.running.executor_bench import approved_entry
from tests.support.running.stages import Stages
from tests.support.strategy import position

AAPL, MSFT = Symbol.parse("AAPL/USD"), Symbol.parse("MSFT/USD")


@dataclass
class MarginBench:
    """A master account with 10,000 dollars, the worker and the bookkeeper of its broker, and its traders."""

    stages: Stages
    capital: CapitalBench

    @property
    def books(self) -> TraderBooks:
        return TraderStore(self.capital.engine).of(Broker.ALPACA, MASTER)

    @property
    def orders(self) -> StrategyBooks:
        return StrategyBooks(self.capital.engine, Broker.ALPACA, MASTER)

    async def read(self, at: datetime | None = None) -> None:
        """Read the account as the master's process does, and store a sample if one is due."""
        await self.capital.read()
        fields = {"state": MasterState.WATCHING.value, LAST_POLL_FIELD: datetime.now(UTC).isoformat()}
        await self.capital.redis.hset(self.capital.keys.master, mapping=fields)
        moment = at or datetime.now(UTC)
        await asyncio.to_thread(sample, self.capital.sources.connections, self.capital.name, lambda: moment)

    def memory(self, change: MarginChange) -> MarginActionState | None:
        """What is stored of the automatic action, as the product changes it."""
        return CapitalStore(self.capital.engine).change_margin_action(Broker.ALPACA, MASTER, change)

    @asynccontextmanager
    async def trader(
        self, *, memory: Callable[[MarginChange], MarginActionState | None] | None = None, **methods: Any
    ) -> AsyncIterator[MarginWatch]:
        """A new process that trades. `methods`: replacements in its books of orders."""
        venue, orders = BrokerVenue(self.capital.sources, self.capital.name), self.orders
        for name, method in methods.items():
            setattr(orders, name, method)
        redis_url = self.stages.settings.redis_url_for(Broker.ALPACA)
        hints = HintPublisher(Broker.ALPACA, redis_url)
        async with guarded_redis(redis_url, self.capital.keys) as redis, asyncio.TaskGroup() as tasks:
            executor = StrategyExecutor(
                TradedAccount(Broker.ALPACA, MASTER, self.stages.settings.open_limits),
                orders,
                StrategyMail(redis, ScriptRunner(redis), self.capital.keys),
                read_book=self._read_book,
                hint=lambda: hints.publish(1),
            )
            dealer = Dealer(venue, self.books, executor, orders, tasks)
            self.executor, self.dealer = executor, dealer
            dealer.begin()
            await self.stages.until("the trader is ready", _truth(lambda: dealer.is_ready))
            yield MarginWatch(venue, dealer, orders, memory or self.memory)
            dealer.stop()
        hints.close()

    async def _read_book(self, symbol: Symbol) -> OrderBook:
        return await (await self.capital.markets.of(Broker.ALPACA)).order_book(symbol)

    async def open_position(self, symbol: Symbol, quantity: str) -> None:
        """Buy as the strategy does, and book the position under the name of the symbol."""
        instrument: Instrument = self.capital.connection.instruments()[symbol]
        plan = LimitPlan(instrument=instrument, side=Side.BUY, quantity=Decimal(quantity))
        result = await self.executor.enter(DecisionId(symbol.base), approved_entry(plan), at_market=True)
        assert result.filled_quantity == Decimal(quantity), result
        empty = replace(
            position(stop="1"), instrument=instrument, bought=ZERO, cost=ZERO, quantity=ZERO, opened_at=None
        )
        await asyncio.to_thread(self.books.book_fills, symbol.base, empty, result.fills)
        await self.dealer.load()

    async def until_sold(self) -> None:
        """Wait until no sale is under way."""
        symbols = (AAPL, MSFT)
        await self.stages.until("sold", _truth(lambda: not any(map(self.dealer.is_under_way, symbols))))

    def sold(self) -> list[tuple[str, Decimal]]:
        """What the strategy sold, in its order."""
        return [(fill.symbol.base, fill.quantity) for fill in self.orders.fills() if fill.side is Side.SELL]

    def held(self) -> dict[str, Decimal]:
        """What the strategy holds."""
        return {each.symbol.base: each.position.quantity for each in self.books.open_positions()}

    async def used_pct(self) -> Decimal:
        return (await asyncio.to_thread(read_margin, self.capital.sources, self.capital.name)).margin_used_pct

    async def person_buys(self, quantity: str) -> None:
        """A person buys Apple on the same account."""
        await self.capital.trade(Side.BUY, str(AAPL), quantity)


def _truth(holds: Callable[[], bool]) -> Callable[[], Any]:
    async def condition() -> bool:
        return holds()

    return condition


@asynccontextmanager
async def open_margin_bench(
    paper: PaperServer, redis_url: str, database_url: str, folder: Path
) -> AsyncIterator[MarginBench]:
    """The strategy holds 40 shares of Apple and 10 of Microsoft, which bind 60 % of the margin."""
    paper.pin_price(str(AAPL), "200")
    paper.pin_price(str(MSFT), "400")
    stages = await Stages.around(paper, redis_url, database_url, folder, ["alice"], Broker.ALPACA)
    stages.settings = stages.settings.model_copy(update={"rate_limits": False})
    paper.ask("POST", "accounts/master/balances", {"USD": "10000"})
    key = stages.settings.required_master_credentials(Broker.ALPACA)
    engine = open_engine(database_url, pool_size=3)
    MasterKeys(engine, SecretBox(stages.settings.secret_key)).keep(Broker.ALPACA, MASTER, key)
    try:
        await asyncio.gather(stages.start("bookkeeper"), stages.start("broker_worker-alpaca"))
        async with capital_bench_of(Broker.ALPACA, paper, redis_url, engine, "master", key) as capital:
            found = MarginBench(stages, capital)
            await found.read()
            async with found.trader():
                await found.open_position(AAPL, "40")
                await found.open_position(MSFT, "10")
            await found.read()
            yield found
    finally:
        await stages.close()
        engine.dispose()
