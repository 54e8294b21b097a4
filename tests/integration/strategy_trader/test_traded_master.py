"""The strategy trades a master account of a real paper broker through the real stages, and followers copy its fills."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Engine, text

from services.strategy_trader.execution.executor import StrategyExecutor, TradedAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.capital.execution import ExecutionMethod, ExecutionPlan, execution_plan
from shared.domain.fill import Side
from shared.domain.identity import Broker, DecisionId
from shared.domain.instrument import Instrument
from shared.domain.strategy.execution.results import ExecutionResult, StrategySale
from shared.messaging.celery_app import HintPublisher
from shared.messaging.connection.epoch import guarded_redis
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner
from shared.messaging.strategy_mail import StrategyMail
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.strategy.books import StrategyBooks
from shared.persistence.strategy.keys import MasterKeys
from tests.contract.paper import PaperServer
from tests.support.running.executor_bench import BTC, approved_entry
from tests.support.running.stages import KEYS, Stages
from tests.support.strategy_orders import MASTER

pytestmark = pytest.mark.long

FOLLOWERS = ["f0", "f1"]
WORKER = "broker_worker-kraken"
COPYING = ("bookkeeper", "copy_engine", WORKER, "master_trader-kraken")
PRICE = Decimal(50000)
D = Decimal

log = structlog.get_logger()


@pytest.fixture
def paper(tmp_path: Path) -> Iterator[PaperServer]:
    """A separate paper Kraken with a pinned price."""
    server = PaperServer(Broker.KRAKEN, tmp_path)
    server.pin_price("BTC/USD", str(PRICE))
    yield server
    server.stop()


@pytest.fixture
async def stages(
    paper: PaperServer, fresh_redis_url: str, fresh_database_url: str, tmp_path: Path
) -> AsyncIterator[Stages]:
    """The servers, and two followers. No stage runs yet."""
    stages = await Stages.around(paper, fresh_redis_url, fresh_database_url, tmp_path, FOLLOWERS)
    yield stages
    await stages.close()


@pytest.fixture
def engine(stages: Stages) -> Iterator[Engine]:
    """The ledger of the stages."""
    engine = open_engine(stages.settings.required_database_url())
    yield engine
    engine.dispose()


@pytest.fixture
async def market(stages: Stages) -> AsyncIterator[BrokerConnection]:
    """The trader's connection to the broker, for order books."""
    nonces = RedisNonceSource(ScriptRunner(stages.redis), KEYS, 0)
    connection = connect(Broker.KRAKEN, base_url=stages.settings.base_url(Broker.KRAKEN), nonces=nonces)
    await connection.open()
    yield connection
    await connection.close()


@pytest.fixture
async def executor(stages: Stages, engine: Engine, market: BrokerConnection) -> AsyncIterator[StrategyExecutor]:
    """The executor of the master account, whose key is stored for the workers."""
    settings, redis_url = stages.settings, stages.settings.redis_url_for(Broker.KRAKEN)
    credentials = settings.master_credentials(Broker.KRAKEN)
    assert credentials is not None
    MasterKeys(engine, SecretBox(settings.secret_key)).keep(Broker.KRAKEN, MASTER, credentials)
    hints = HintPublisher(Broker.KRAKEN, redis_url)
    async with guarded_redis(redis_url, KEYS) as redis:
        yield StrategyExecutor(
            TradedAccount(Broker.KRAKEN, MASTER, settings.open_limits),
            StrategyBooks(engine, Broker.KRAKEN, MASTER),
            StrategyMail(redis, ScriptRunner(redis), KEYS),
            read_book=lambda symbol: market.market_data.order_book(symbol, 100),
            hint=lambda: hints.publish(1),
            now=market.clock.now,
        )
    hints.close()


async def a_plan(market: BrokerConnection, method: ExecutionMethod, quantity: str) -> ExecutionPlan:
    """The plan that the gate makes for this method, from the present book."""
    book = await market.market_data.order_book(BTC, 100)
    return execution_plan(method, instrument_of(market), Side.BUY, Decimal(quantity), book, market.clock.now())


def instrument_of(market: BrokerConnection) -> Instrument:
    return market.instruments()[BTC]


async def done(work: Awaitable[ExecutionResult]) -> ExecutionResult:
    async with asyncio.timeout(60):
        return await work


async def test_followers_copy_what_the_strategy_buys_and_sells(
    stages: Stages, paper: PaperServer, engine: Engine, executor: StrategyExecutor, market: BrokerConnection
) -> None:
    """Its fills are a master's fills. They are not taken for copies on the master's own account, and no report of copies
    counts the strategy's orders.
    """
    await asyncio.gather(*(stages.start(name) for name in COPYING))
    plan = await a_plan(market, ExecutionMethod.LIMIT, "0.1")
    bought = await done(executor.enter(DecisionId("d1"), approved_entry(plan), at_market=True))
    assert bought.filled_quantity == D("0.1")
    await stages.until("both followers have bought", all_have(paper, 1))
    sale = StrategySale(instrument=instrument_of(market), quantity=D("0.1"))
    sold = await done(executor.sell(DecisionId("s1"), sale))
    assert sold.filled_quantity == D("0.1")
    await stages.until("both followers have sold", all_have(paper, 2))
    own = paper.orders_of("master")
    assert [order["client_order_id"].replace("-", "") for order in own] == [
        fill.fill_id for fill in (*bought.fills, *sold.fills)
    ]
    with engine.connect() as connection:
        fills = connection.execute(text("SELECT side, quantity FROM master_fills ORDER BY sequence")).all()
        followers = connection.execute(text("SELECT DISTINCT follower_id FROM order_events ORDER BY 1")).scalars().all()
        disabled = connection.scalar(text("SELECT count(*) FROM followers WHERE status <> 'active'"))
    assert sum(fill.quantity if fill.side == "buy" else -fill.quantity for fill in fills) == 0
    assert (followers, disabled) == (FOLLOWERS, 0)
    secret = stages.settings.master_credentials(Broker.KRAKEN).api_secret.get_secret_value()  # type: ignore[union-attr]
    for key in await stages.redis.keys("*"):
        assert secret.encode() not in (await stages.redis.dump(key) or b"")
    assert all(secret not in log.read_text() for log in stages.folder.glob("*.log"))


def all_have(paper: PaperServer, orders: int) -> Callable[[], Awaitable[bool]]:
    """Whether each follower has this number of orders."""

    async def have() -> bool:
        return all(len(paper.orders_of(name)) == orders for name in FOLLOWERS)

    return have


async def test_a_worker_that_is_killed_during_an_order_leaves_one_order(
    stages: Stages, paper: PaperServer, executor: StrategyExecutor, market: BrokerConnection
) -> None:
    """The broker has executed the order and does not answer. The next worker looks it up, and the execution goes on."""
    await asyncio.gather(stages.start("bookkeeper"), stages.start(WORKER))
    paper.fault("hang", account="master", orders=True, executed=True)
    plan = await a_plan(market, ExecutionMethod.LIMIT, "0.1")
    buying = asyncio.create_task(executor.enter(DecisionId("d1"), approved_entry(plan)))

    async def is_sent() -> bool:
        return len(paper.orders_of("master")) == 1

    await stages.until("the order is sent", is_sent)
    worker = stages.started[-1]
    os.killpg(worker.pid, signal.SIGKILL)
    await worker.wait_end()
    await stages.start(WORKER, 2)
    result = await done(buying)
    assert result.filled_quantity == D("0.1")
    assert len(paper.orders_of("master")) == 1
