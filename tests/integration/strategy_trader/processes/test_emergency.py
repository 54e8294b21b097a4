"""The whole chain in real processes: a position of the strategy that loses more than one percent is sold at once."""

import asyncio
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from services.strategy_trader.app import MASTER_ACCOUNT
from services.strategy_trader.execution.executor import StrategyExecutor, TradedAccount
from shared.domain.capital.execution import LimitPlan
from shared.domain.fill import Side
from shared.domain.identity import Broker, DecisionId
from shared.domain.market_data import BookLevel, OrderBook
from shared.domain.strategy.position import StrategyPosition
from shared.domain.symbol import Symbol
from shared.messaging.connection.epoch import guarded_redis
from shared.messaging.scripts import ScriptRunner
from shared.messaging.strategy_mail import StrategyMail
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.stored_traders import StoredDecision
from shared.persistence.strategy.books import StrategyBooks
from shared.persistence.strategy.keys import MasterKeys
from shared.persistence.traders import TraderBooks, TraderStore
from tests.contract.paper import PaperServer
from tests.support.examples import an_instrument
from tests.support.running.executor_bench import approved_entry
from tests.support.running.stages import KEYS, Stages

pytestmark = pytest.mark.long
BTC_USD = Symbol.parse("BTC/USD")
OPENING = DecisionId("opening")


async def _book(symbol: Symbol) -> OrderBook:
    """A deep book at the pinned price."""
    levels = (BookLevel(Decimal(50_000), Decimal(10)),)
    return OrderBook(symbol=symbol, bids=levels, asks=levels, at=datetime.now(UTC))


async def _open_a_position(stages: Stages, books: TraderBooks, orders: StrategyBooks) -> None:
    """Buy a tenth of a bitcoin as the strategy does, through the mailbox of the master, and book it."""
    redis: Redis = guarded_redis(stages.settings.redis_url_for(Broker.KRAKEN), KEYS)
    executor = StrategyExecutor(
        TradedAccount(Broker.KRAKEN, MASTER_ACCOUNT, stages.settings.open_limits),
        orders,
        StrategyMail(redis, ScriptRunner(redis), KEYS),
        read_book=_book,
        hint=lambda: None,
    )
    instrument = an_instrument()
    plan = LimitPlan(instrument=instrument, side=Side.BUY, quantity=Decimal("0.1"))
    async with asyncio.timeout(30):
        result = await executor.enter(OPENING, approved_entry(plan), at_market=True)
    await redis.aclose()
    assert result.filled_quantity == Decimal("0.1"), result
    before = StrategyPosition(
        instrument=instrument,
        round_trip=Decimal("0.0062"),
        minimum_profit=Decimal("0.0082"),
        first_stop=Decimal(40_000),
        stop=Decimal(40_000),
        first_part=Decimal("0.5"),
        second_part=Decimal("0.25"),
    )
    await asyncio.to_thread(books.book_fills, OPENING, before, result.fills)


async def test_a_position_below_its_limit_is_sold_by_the_worker_of_the_broker(
    stages: Stages, paper: PaperServer
) -> None:
    """The price falls by 0.9 % and nothing happens. It falls by 1.5 %, and the account sells everything, once."""
    engine = open_engine(stages.settings.required_database_url(), pool_size=2)
    books = TraderStore(engine).of(Broker.KRAKEN, MASTER_ACCOUNT)
    orders = StrategyBooks(engine, Broker.KRAKEN, MASTER_ACCOUNT)
    box = SecretBox(stages.settings.secret_key)
    credentials = stages.settings.required_master_credentials(Broker.KRAKEN)
    MasterKeys(engine, box).keep(Broker.KRAKEN, MASTER_ACCOUNT, credentials)
    for name in ("bookkeeper", "broker_worker-kraken", "master_trader-kraken"):
        await stages.start(name)
    await _open_a_position(stages, books, orders)
    await stages.start("strategy_trader-kraken")
    paper.pin_price("BTC/USD", "49600")
    await asyncio.sleep(6)
    (held,) = books.open_positions()
    assert held.position.quantity > 0
    paper.pin_price("BTC/USD", "49250")
    fell_at = time.monotonic()

    async def sold() -> bool:
        return not await asyncio.to_thread(books.open_positions)

    await stages.until("sold", sold)
    # Two updates of prices, the order, and the ledger.
    assert time.monotonic() - fell_at < 20
    await asyncio.sleep(5)
    (trade,) = books.closed_trades()
    # 75 dollars by the price, 26 by fees, and the spread.
    assert Decimal(-105) < trade.profit < Decimal(-100)
    sales = [fill for fill in orders.fills() if fill.side is Side.SELL]
    assert [fill.quantity for fill in sales] == [held.position.quantity]
    decision = _emergency(TraderStore(engine), stages)
    assert decision.outcome is not None
    assert decision.outcome.startswith("sold")
    assert decision.decision["reason"] == "emergency"
    engine.dispose()


def _emergency(store: TraderStore, stages: Stages) -> StoredDecision:
    """The decision that the log names."""
    log = (stages.folder / "strategy_trader-kraken-1.log").read_text()
    (line,) = [line for line in log.splitlines() if "EMERGENCY LIQUIDATION" in line]
    name = line.partition('"decision": "')[2].partition('"')[0]
    found = store.decision(name)
    assert found is not None
    return found
