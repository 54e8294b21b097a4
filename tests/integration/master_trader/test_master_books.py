"""A master whose fills are published from the books: what is read when, and what waits. Redis and ledger are real."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import Engine

from services.master_trader.report import Report
from services.master_trader.watch import Master, Watch
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.master_fill import MasterFill
from shared.domain.fill import AccountFill, Side
from shared.domain.identity import Broker, MasterAccount
from shared.messaging.alerts import AlertKind, current_alerts
from shared.messaging.fills import read_fills
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.ledger.master_fills import MasterFills
from shared.persistence.migrate import migrate
from tests.support.broker import FakeAccount, FakeConnection
from tests.support.prices import LivePrices

KEYS = BrokerKeys(Broker.KRAKEN)
NAME = MasterAccount("master")


@dataclass
class FeeInCoin(FakeAccount):
    """Counts its requests. It takes fees in the coin, which only the order of a fill shows, as Kraken does."""

    requests: list[str] = field(default_factory=list)
    read_orders: set[str] = field(default_factory=set)
    in_coin: bool = False

    async def balances(self) -> Any:
        self.requests.append("balances")
        return await super().balances()

    async def fills_since(self, since: Any) -> list[AccountFill]:
        self.requests.append("fills")
        return [self._shown(fill) for fill in await super().fills_since(since)]

    async def learn_fees(self) -> None:
        self.requests.append("orders")
        self.read_orders |= {fill.order_id for fill in self.fills}

    def knows_fee(self, fill: AccountFill) -> bool:
        return fill.order_id in self.read_orders

    def _shown(self, fill: AccountFill) -> AccountFill:
        if not self.in_coin or fill.side is Side.SELL or not self.knows_fee(fill):
            return fill
        return fill.model_copy(update={"fee": fill.fee / fill.price, "fee_currency": fill.symbol.base})


@dataclass
class NamedPrices(LivePrices):
    """Notes the assets whose prices were asked for."""

    needed: set[str] = field(default_factory=set)

    async def need(self, assets: frozenset[str]) -> None:
        self.needed |= assets


@dataclass
class Bench:
    redis: Redis
    engine: Engine
    needed: set[str] = field(default_factory=set)
    account: FeeInCoin = field(
        default_factory=lambda: FeeInCoin(
            {"USD": Decimal(100_000), "BTC": Decimal(2)}, {"BTC": Decimal(50_000), "ETH": Decimal(2_500)}
        )
    )

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Watch]:
        self.connection = FakeConnection(self.account, self.account.prices)
        watch = Watch(
            Master(
                name=NAME,
                credentials=Credentials(api_key=SecretStr("k"), api_secret=SecretStr("s")),
                connect=lambda: self.connection,
                ledger=MasterFills(self.engine),
                redis=self.redis,
                keys=KEYS,
                report=Report(self.redis, KEYS, NAME, "process", lambda: self.account.clock),
                price_lists=NamedPrices(self.account.prices, lambda: self.account.clock, needed=self.needed),
                now=lambda: self.account.clock,
            )
        )
        await watch.begin()
        await watch.poll()
        self.account.requests.clear()
        self.needed.clear()
        yield watch
        await watch.close()

    async def published(self) -> list[MasterFill]:
        entries = await read_fills(self.redis, KEYS, 0, 100)
        return [entry.fill for entry in entries if isinstance(entry.fill, MasterFill)]


@pytest.fixture
async def bench(fresh_redis_url: str, fresh_database_url: str) -> AsyncIterator[Bench]:
    migrate(fresh_database_url)
    engine = open_engine(fresh_database_url, pool_size=2)
    async with Redis.from_url(fresh_redis_url) as redis:
        yield Bench(redis, engine)
    engine.dispose()


async def test_a_fill_is_published_by_the_poll_that_finds_it_and_nothing_else_is_read_before(bench: Bench) -> None:
    """The equity before it comes from the books. The order of the fill is read after it was published."""
    async with bench.watching() as watch:
        worth = bench.account.worth()
        bench.account.trade(Side.BUY, "ETH/USD", "3")
        assert await watch.poll() == 1
        assert bench.account.requests == ["fills", "orders"]
        (fill,) = await bench.published()
        assert fill.master_equity_before == worth


async def test_a_sale_of_coins_from_elsewhere_waits_for_one_reading_and_delays_no_other_asset(bench: Bench) -> None:
    """The master sells bitcoin that nija never saw it buy. Its ether is published at once."""
    async with bench.watching() as watch:
        sold = bench.account.trade(Side.SELL, "BTC/USD", "0.5")
        bought = bench.account.trade(Side.BUY, "ETH/USD", "3")
        await watch.poll()
        assert [fill.fill_id for fill in await bench.published()] == [bought.fill_id]
        assert bench.account.requests.count("balances") == 1
        bench.account.clock = bought.executed_at
        await watch.poll()
        first, second = await bench.published()
        assert (first.fill_id, second.fill_id) == (bought.fill_id, sold.fill_id)
        assert second.fraction_closed == 0
        assert bench.account.requests.count("balances") == 1


async def test_a_sale_that_comes_before_its_purchase_is_published_after_it(bench: Bench) -> None:
    """The account still holds its own bitcoin, but more of it than the books expect."""
    async with bench.watching() as watch:
        bench.account.trade(Side.BUY, "BTC/USD", "0.5", hidden=True)
        bench.account.trade(Side.SELL, "BTC/USD", "0.5")
        for _ in range(3):
            await watch.poll()
            assert await bench.published() == []
        bench.account.hidden.clear()
        await watch.poll()
        bought, sold = await bench.published()
        assert (bought.side, sold.side, sold.fraction_closed) == (Side.BUY, Side.SELL, 1)


async def test_a_master_that_pays_its_fees_in_coins_is_flat_after_each_round_trip(bench: Bench) -> None:
    """The purchase is published before its fee is known. The sale of what was received closes the whole position."""
    bench.account.in_coin = True
    async with bench.watching() as watch:
        for _ in range(3):
            bench.account.trade(Side.BUY, "ETH/USD", "1")
            await watch.poll()
            await watch.poll()
            bench.account.trade(Side.SELL, "ETH/USD", "0.9974")
            await watch.poll()
        assert [fill.fraction_closed for fill in await bench.published()] == [0, 1] * 3


async def test_a_purchase_and_its_sale_in_one_poll_are_a_full_close_too(bench: Bench) -> None:
    """The sale is of nearly all, so it waits until the fee of the purchase is known: until the next poll."""
    bench.account.in_coin = True
    async with bench.watching() as watch:
        bench.account.trade(Side.BUY, "ETH/USD", "1")
        bench.account.trade(Side.SELL, "ETH/USD", "0.9974")
        assert await watch.poll() == 1
        assert await watch.poll() == 1
        assert [fill.fraction_closed for fill in await bench.published()] == [0, 1]


async def test_a_clock_that_is_more_than_a_second_off_is_a_finding(bench: Bench) -> None:
    """It ends when the clock was set."""

    async def findings() -> list[str]:
        alerts = current_alerts(await bench.redis.hvals(KEYS.alerts), bench.account.clock)
        return [alert.message for alert in alerts if alert.kind is AlertKind.CLOCK]

    async with bench.watching() as watch:
        clock = bench.connection.clock
        clock.observe("Mon, 05 Jan 2026 12:00:09 GMT", 1_767_614_400.0, 1_767_614_400.0)
        await watch.begin()  # so that the account is read
        await watch.poll()
        (finding,) = await findings()
        assert finding.startswith("the clock of this machine is 9.5 s behind the broker's: synchronize it")
        clock.observe("Mon, 05 Jan 2026 12:00:00 GMT", 1_767_614_400.0, 1_767_614_400.0)
        await watch.begin()
        await watch.poll()
        assert await findings() == []


async def test_the_price_of_a_new_asset_is_asked_for_as_soon_as_its_fill_is_published(bench: Bench) -> None:
    """The followers hold it from then on. The account of the master is read ten seconds later."""
    async with bench.watching() as watch:
        bench.account.trade(Side.BUY, "ETH/USD", "3")
        await watch.poll()
        assert len(await bench.published()) == 1
        assert bench.needed == {"ETH"}
        assert "balances" not in bench.account.requests
