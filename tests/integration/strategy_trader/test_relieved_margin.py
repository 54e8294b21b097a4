"""The margin of a master account at a paper Alpaca runs short: the trader sells, through the real worker and ledger.

The account and its prices are read when a test says so. The worker and the bookkeeper are processes. A trader is the
real dealer, executor and margin check on real Redis and PostgreSQL, and dies where a test says so.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.master_trader.sample_capital import sample
from services.strategy_trader.dealer import Dealer
from services.strategy_trader.execution.executor import StrategyExecutor, TradedAccount
from services.strategy_trader.margin import MarginChange, MarginWatch
from services.strategy_trader.venue import BrokerVenue
from shared.domain.accounts.master_state import MasterState
from shared.domain.amounts import ZERO
from shared.domain.capital.execution import LimitPlan
from shared.domain.capital.margin import MarginActionState
from shared.domain.capital.recommendation import ReasonCode
from shared.domain.fill import Side
from shared.domain.identity import Broker, DecisionId
from shared.domain.instrument import Instrument
from shared.domain.market_data import OrderBook
from shared.domain.strategy.decision import Enter, from_values
from shared.domain.strategy.explanation import explain
from shared.domain.symbol import Symbol
from shared.indicators.decide import decide
from shared.indicators.window import Window
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
from shared.queries.capital_findings import capital_findings, read_capital_facts
from tests.contract.paper import PaperServer
from tests.support.faulty_broker import ProcessDied
from tests.support.running.capital_bench import MASTER, CapitalBench, capital_bench_of
from tests.support.running.executor_bench import approved_entry
from tests.support.running.stages import Stages
from tests.support.strategy import INSTRUMENT, account, position
from tests.support.trading_world import CANDLES

pytestmark = pytest.mark.long
D = Decimal
AAPL, MSFT = Symbol.parse("AAPL/USD"), Symbol.parse("MSFT/USD")


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[PaperServer]:
    """A separate paper Alpaca, whose accounts may borrow as much as they have."""
    server = PaperServer(Broker.ALPACA, tmp_path, "--no-rate-limits")
    server.pin_price(str(AAPL), "200")
    server.pin_price(str(MSFT), "400")
    yield server
    server.stop()


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
        plan = LimitPlan(instrument=instrument, side=Side.BUY, quantity=D(quantity))
        result = await self.executor.enter(DecisionId(symbol.base), approved_entry(plan), at_market=True)
        assert result.filled_quantity == D(quantity), result
        empty = replace(position(), instrument=instrument, bought=ZERO, cost=ZERO, quantity=ZERO, opened_at=None)
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


def _truth(holds: Callable[[], bool]) -> Callable[[], Any]:
    async def condition() -> bool:
        return holds()

    return condition


@pytest.fixture
async def bench(
    paper: PaperServer, fresh_redis_url: str, fresh_database_url: str, tmp_path: Path
) -> AsyncIterator[MarginBench]:
    """The strategy holds 40 shares of Apple and 10 of Microsoft, which bind 60 % of the margin."""
    stages = await Stages.around(paper, fresh_redis_url, fresh_database_url, tmp_path, ["alice"], Broker.ALPACA)
    stages.settings = stages.settings.model_copy(update={"rate_limits": False})
    paper.ask("POST", "accounts/master/balances", {"USD": "10000"})
    key = stages.settings.required_master_credentials(Broker.ALPACA)
    engine = open_engine(fresh_database_url, pool_size=3)
    MasterKeys(engine, SecretBox(stages.settings.secret_key)).keep(Broker.ALPACA, MASTER, key)
    try:
        await asyncio.gather(stages.start("bookkeeper"), stages.start("broker_worker-alpaca"))
        async with capital_bench_of(Broker.ALPACA, paper, fresh_redis_url, engine, "master", key) as capital:
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


async def person_buys(bench: MarginBench, quantity: str) -> None:
    """A person buys Apple on the same account, and the account is read."""
    await bench.capital.trade(Side.BUY, str(AAPL), quantity)
    await bench.read()


async def test_each_zone_does_what_it_says_and_a_persons_shares_stay(bench: MarginBench) -> None:
    """60 % sells nothing, 80 % sells 30 % of each position once, and 92 % closes the worst one. Then it is over."""
    async with bench.trader() as watch:
        await bench.read()
        await watch.check()
        assert bench.sold() == []

        await person_buys(bench, "20")
        assert 79 < await bench.used_pct() < 81
        await watch.check()
        await bench.until_sold()
        assert bench.sold() == [("AAPL", D(12)), ("MSFT", D(3))] or bench.sold() == [("MSFT", D(3)), ("AAPL", D(12))]
        await watch.check()
        await bench.read()
        assert 61 < await bench.used_pct() < 63
        await watch.check()
        assert len(bench.sold()) == 2

        bench.stages.paper.pin_price(str(AAPL), "199")
        await person_buys(bench, "31")
        assert 90 <= await bench.used_pct() < 95
        await watch.check()
        await bench.until_sold()
        assert bench.held() == {"MSFT": D(7)}
        await bench.read()
        assert await bench.used_pct() < 75
        await watch.check()
        assert bench.held() == {"MSFT": D(7)}
    balances = await bench.capital.connection.account(bench.capital.credentials).balances()
    assert balances["AAPL"].total == 51
    found = await asyncio.to_thread(read_margin, bench.capital.sources, bench.capital.name)
    assert found.last_action is not None
    assert found.last_action.orders == ("sell 28 AAPL/USD",)
    assert found.last_action.is_final


@pytest.mark.parametrize("step", ["round stored", "begin", "add_order"])
async def test_a_trader_that_dies_at_any_step_neither_repeats_nor_forgets_a_sale(bench: MarginBench, step: str) -> None:
    """The next process sells 30 % of each position, once. `nija explain` has each sale with its outcome."""
    orders = bench.orders
    methods = {} if step == "round stored" else {step: _dying(getattr(orders, step))}
    memory = _dying_after_a_round(bench) if step == "round stored" else None
    await bench.read()
    await person_buys(bench, "20")
    with pytest.raises((ProcessDied, BaseExceptionGroup)):
        await _check_until_death(bench, memory, methods)
    async with bench.trader() as watch:
        await bench.read()
        await watch.check()
        await bench.until_sold()
        await bench.read()
        await watch.check()
    assert sorted(bench.sold()) == [("AAPL", D(12)), ("MSFT", D(3))]
    sales = [order for order in bench.stages.paper.orders_of("master") if order["side"] == "sell"]
    assert len(sales) == 2
    state = bench.memory(lambda stored: stored)
    assert state is not None
    assert state.last is not None
    assert state.last.is_final
    milliseconds = int(state.last.started_at.timestamp() * 1000)
    for symbol in (AAPL, MSFT):
        name = f"alpaca-margin-reduce-{milliseconds}-{symbol.base}-USD"
        stored = TraderStore(bench.capital.engine).decision(name)
        assert stored is not None
        assert stored.outcome is not None
        assert stored.outcome.startswith("sold")
        assert explain(from_values(stored.decision)).reasons[0].startswith("the margin zone is ORANGE")


async def _check_until_death(bench: MarginBench, memory: Any, methods: dict[str, Any]) -> None:
    async with asyncio.timeout(20), bench.trader(memory=memory, **methods) as watch:
        await bench.read()
        await watch.check()
        await asyncio.sleep(10)


def _dying(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, whose first call kills the process after it has done its work."""

    def dies(*arguments: Any, **named: Any) -> Any:
        method(*arguments, **named)
        raise ProcessDied

    return dies


def _dying_after_a_round(bench: MarginBench) -> Callable[[MarginChange], MarginActionState | None]:
    """The memory of a process that dies right after it has stored a round of orders."""

    def memory(change: MarginChange) -> MarginActionState | None:
        after = bench.memory(change)
        if after is not None and after.last is not None:
            raise ProcessDied
        return after

    return memory


async def test_a_drawdown_of_20_percent_stops_entries_for_24_hours_across_a_restart(bench: MarginBench) -> None:
    """The shares fall by a third. A new process reads the breaker from PostgreSQL, and its gate rejects every entry."""
    start = datetime.now(UTC)
    await bench.read(start + timedelta(seconds=30))
    for symbol, price in ((AAPL, "130"), (MSFT, "260")):
        bench.stages.paper.pin_price(str(symbol), price)
    tripped_at = start + timedelta(seconds=60)
    await bench.read(tripped_at)
    record = CapitalStore(bench.capital.engine).record(Broker.ALPACA, MASTER)
    assert record is not None
    assert record.drawdown.breaker_until == tripped_at + timedelta(hours=24)
    venue = BrokerVenue(bench.capital.sources, bench.capital.name)
    answer = await venue.ask(an_entry(), await venue.account(), (), has_made_room=False)
    assert answer.reason_codes == (ReasonCode.DRAWDOWN_BREAKER,)
    findings = capital_findings(read_capital_facts(bench.capital.engine, [Broker.ALPACA]), tripped_at)
    assert "breaker_open" in {each.kind for each in findings}


def an_entry() -> Enter:
    """A decision of the strategy to buy bitcoin at Alpaca."""
    instrument = INSTRUMENT.model_copy(update={"broker": Broker.ALPACA})
    entry = decide(Window.of(CANDLES), None, account(CANDLES, instrument=instrument))
    assert isinstance(entry, Enter)
    return entry
