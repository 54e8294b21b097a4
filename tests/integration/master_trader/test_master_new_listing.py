"""The master may trade a symbol that the broker listed after the markets were loaded, and its fills are published.

Redis and PostgreSQL are real, and the broker is in memory.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import Engine

from services.master_trader.report import Report
from services.master_trader.watch import Master, Watch
from shared.brokers.errors import NotSent
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.master_fill import MasterFill
from shared.domain.fill import Side
from shared.domain.identity import Broker, MasterAccount
from shared.messaging.fills import read_fills
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.ledger.master_fills import MasterFills
from tests.support.broker import FakeAccount, FakeConnection
from tests.support.prices import LivePrices

KEYS = BrokerKeys(Broker.BINANCE)
NAME = MasterAccount("master")


class Connection(FakeConnection):
    """A connection that knows the markets of the moment when it was loaded, and none that are listed later."""

    is_down: Callable[[], bool]
    on_load: Callable[[], None]

    async def open(self) -> None:
        if self.is_down():
            raise NotSent("the broker cannot be reached")
        await super().open()
        self.listed = self.prices_now
        self.prices_now = dict(self.listed)

    async def reload(self) -> None:
        if self.is_down():
            raise NotSent("the broker cannot be reached")
        self.on_load()
        self.prices_now = dict(self.listed)


@dataclass
class World:
    """One master account, and the markets of its broker."""

    redis: Redis
    engine: Engine
    account: FakeAccount = field(
        default_factory=lambda: FakeAccount({"USD": Decimal(100_000)}, {"BTC": Decimal(50_000)})
    )
    listed: dict[str, Decimal] = field(default_factory=lambda: {"BTC": Decimal(50_000)})
    loads: int = 0
    is_down: bool = False

    def list_new_coin(self) -> None:
        self.account.prices["NEW"] = self.listed["NEW"] = Decimal(2)

    def connect(self) -> Connection:
        self.count_load()
        connection = Connection(self.account, self.listed, broker=KEYS.broker)
        connection.is_down = lambda: self.is_down
        connection.on_load = self.count_load
        return connection

    def count_load(self) -> None:
        self.loads += 1

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Watch]:
        master = Master(
            name=NAME,
            credentials=Credentials(api_key=SecretStr("k"), api_secret=SecretStr("s")),
            connect=self.connect,
            ledger=MasterFills(self.engine),
            redis=self.redis,
            keys=KEYS,
            report=Report(self.redis, KEYS, NAME, "process", lambda: self.account.clock),
            price_lists=LivePrices(self.listed, lambda: self.account.clock),
            late_purchase_seconds=0,
            now=lambda: self.account.clock,
        )
        watch = Watch(master)
        await watch.begin()
        await watch.poll()
        yield watch
        await watch.close()

    async def published(self) -> list[MasterFill]:
        entries = await read_fills(self.redis, KEYS, 0, 100)
        return [entry.fill for entry in entries if isinstance(entry.fill, MasterFill)]

    async def is_listed(self, symbol: str) -> bool:
        return bool(await self.redis.hexists(KEYS.instruments, symbol))


@pytest.fixture
async def world(fresh_redis_url: str, fresh_database_url: str) -> AsyncIterator[World]:
    engine = open_engine(fresh_database_url)
    async with Redis.from_url(fresh_redis_url) as redis:
        yield World(redis, engine)
    engine.dispose()


async def polls(watch: Watch, world: World, fills: int) -> None:
    """Poll at most five times, until this number of fills is published."""
    for _ in range(5):
        await watch.poll()
        if len(await world.published()) >= fills:
            return


async def test_a_fill_of_a_new_listing_is_published_when_everybody_can_copy_it(world: World) -> None:
    """A fill that is published before engines have its instrument would be skipped for every follower."""
    async with world.watching() as watch:
        world.list_new_coin()
        world.account.trade(Side.BUY, "NEW/USD", "10")
        await polls(watch, world, 1)
        assert [fill.symbol for fill in await world.published()] == ["NEW/USD"]
        assert await world.is_listed("NEW/USD")
        assert world.loads == 2


async def test_a_listing_that_cannot_be_loaded_holds_fills_back_for_one_poll_only(world: World) -> None:
    """The markets may be unavailable for hours, while fills are shown. So the next poll publishes all of them."""
    async with world.watching() as watch:
        world.list_new_coin()
        world.account.trade(Side.BUY, "NEW/USD", "10")
        world.account.trade(Side.BUY, "BTC/USD", "0.1")
        world.is_down = True
        with pytest.raises(NotSent):
            await watch.poll()
        assert not await world.published()

        await watch.begin()  # as after any error
        assert await watch.poll() == 2
        assert [fill.symbol for fill in await world.published()] == ["NEW/USD", "BTC/USD"]


async def test_what_the_broker_does_not_list_is_published_all_the_same(world: World) -> None:
    """The fills are published, and the markets are not loaded again for each of them."""
    world.account.prices["DARK"] = Decimal(3)
    async with world.watching() as watch:
        for number in (1, 2, 3):
            world.account.trade(Side.BUY, "DARK/USD", "10")
            await polls(watch, world, number)
        assert [fill.symbol for fill in await world.published()] == ["DARK/USD"] * 3
        assert not await world.is_listed("DARK/USD")
        assert world.loads == 2


async def test_a_coin_that_has_no_price_leads_to_its_fill(world: World) -> None:
    """Binance returns fills by pair, so a new pair is first visible in the balances only."""
    async with world.watching() as watch:
        world.list_new_coin()
        fill = world.account.trade(Side.BUY, "NEW/USD", "10", hidden=True)  # until the pair is known
        await watch.begin()  # as after any error: the account is valued again
        await watch.poll()
        assert world.loads == 2

        world.account.hidden.discard(fill.fill_id)
        await polls(watch, world, 1)
        assert await world.is_listed("NEW/USD")
        assert world.loads == 2
