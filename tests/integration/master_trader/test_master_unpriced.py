"""A master of which nine tenths have no price: its opens wait until an operator names a value. Redis and ledger are real.

The master holds 10,000 dollars and 9,000 XYZ, which are worth 90,000 dollars. The broker lists no price for XYZ.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import Engine

from services.master_trader.report import Report
from services.master_trader.watch import Master, Watch
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.plan import plan
from shared.domain.copying.planned import PlanColumns, columns_of
from shared.domain.copying.reasons import SkipReason
from shared.domain.fill import Side
from shared.domain.identity import Broker, MasterAccount
from shared.messaging.alerts import AlertKind, current_alerts
from shared.messaging.fills import read_fills
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.ledger.master_fills import MasterFills
from shared.persistence.migrate import migrate
from tests.support.broker import FakeAccount, FakeConnection
from tests.support.examples import a_follower, an_account, an_instrument
from tests.support.prices import LivePrices

KEYS = BrokerKeys(Broker.KRAKEN)
NAME = MasterAccount("master")


@dataclass
class UnpricedMaster:
    """The account, and processes that watch it."""

    redis: Redis
    engine: Engine
    account: FakeAccount = field(
        default_factory=lambda: FakeAccount(
            {"USD": Decimal(10_000), "XYZ": Decimal(9_000)}, {"BTC": Decimal(50_000)}, fee_rate=Decimal(0)
        )
    )

    @asynccontextmanager
    async def process(self, named: Mapping[str, Decimal | None]) -> AsyncIterator[Watch]:
        """Start a process with these values in KRAKEN_MASTER_VALUES."""
        watch = Watch(
            Master(
                name=NAME,
                credentials=Credentials(api_key=SecretStr("k"), api_secret=SecretStr("s")),
                connect=lambda: FakeConnection(self.account, self.account.prices),
                ledger=MasterFills(self.engine),
                redis=self.redis,
                keys=KEYS,
                report=Report(self.redis, KEYS, NAME, "process", lambda: self.account.clock),
                price_lists=LivePrices(self.account.prices, lambda: self.account.clock),
                named_values=named,
                now=lambda: self.account.clock,
            )
        )
        await watch.begin()
        yield watch
        await watch.close()

    async def fills(self) -> list[MasterFill]:
        entries = await read_fills(self.redis, KEYS, 0, 100)
        return [entry.fill for entry in entries if isinstance(entry.fill, MasterFill)]

    async def planned(self) -> list[PlanColumns]:
        """What a follower with 1,000 dollars does for each fill."""
        now = self.account.clock
        return [
            columns_of(
                plan(
                    fill,
                    a_follower(),
                    an_account("1000", taken_at=now),
                    an_instrument(),
                    Decimal(0),
                    now=now,
                    snapshot_max_age=timedelta(minutes=5),
                )
            )
            for fill in await self.fills()
        ]

    async def findings(self) -> list[str]:
        """The messages of the alerts about assets without a price."""
        stored = await self.redis.hvals(KEYS.alerts)
        alerts = current_alerts(stored, self.account.clock)
        return [alert.message for alert in alerts if alert.kind is AlertKind.UNPRICED_ASSET]


@pytest.fixture
async def master(fresh_redis_url: str, fresh_database_url: str) -> AsyncIterator[UnpricedMaster]:
    """The master, an empty Redis and a migrated database."""
    migrate(fresh_database_url)
    engine = open_engine(fresh_database_url, pool_size=2)
    async with Redis.from_url(fresh_redis_url) as redis:
        yield UnpricedMaster(redis, engine)
    engine.dispose()


async def test_an_open_waits_until_the_operator_names_a_value(master: UnpricedMaster) -> None:
    """The master buys for 1 % of its account. Followers buy for 1 % of theirs, and not for 10 %."""
    async with master.process({}) as watch:
        await watch.poll()
        master.account.trade(Side.BUY, "BTC/USD", "0.02")
        await watch.poll()
        await watch.poll()
        assert await master.fills() == []
        (finding,) = await master.findings()
        assert "holds XYZ" in finding
        assert "KRAKEN_MASTER_VALUES=XYZ:" in finding
    async with master.process({"XYZ": Decimal(10)}) as watch:
        await watch.poll()
        assert [each.quantity for each in await master.planned()] == [Decimal("0.0002")]
        assert await master.findings() == []


async def test_an_open_goes_on_when_its_broker_prices_the_asset_again(master: UnpricedMaster) -> None:
    """No process is restarted. After that, a ticker that fails once changes nothing."""
    async with master.process({}) as watch:
        master.account.trade(Side.BUY, "BTC/USD", "0.02")
        await watch.poll()
        assert await master.fills() == []
        master.account.prices["XYZ"] = Decimal(10)
        await watch.poll()
        del master.account.prices["XYZ"]
        master.account.trade(Side.BUY, "BTC/USD", "0.02")
        await watch.poll()
    assert [each.quantity for each in await master.planned()] == [Decimal("0.0002"), Decimal("0.0002")]


async def test_an_ignored_asset_is_left_out_of_the_equity(master: UnpricedMaster) -> None:
    """The operator says that XYZ is not part of what the master trades with."""
    async with master.process({"XYZ": None}) as watch:
        master.account.trade(Side.BUY, "BTC/USD", "0.02")
        await watch.poll()
    assert [each.quantity for each in await master.planned()] == [Decimal("0.002")]


async def test_a_held_open_ends_with_its_reason_after_a_minute(master: UnpricedMaster) -> None:
    """An older open is not worth copying. Every follower gets a decision that says why nothing was bought."""
    async with master.process({}) as watch:
        master.account.trade(Side.BUY, "BTC/USD", "0.02")
        await watch.poll()
        master.account.clock += timedelta(seconds=61)
        await watch.poll()
    (skipped,) = await master.planned()
    assert skipped.skip_reason is SkipReason.MASTER_EQUITY_UNKNOWN


async def test_an_exit_never_waits_for_the_equity(master: UnpricedMaster) -> None:
    """The purchase before it is published with it, because the order of fills stays."""
    async with master.process({}) as watch:
        master.account.trade(Side.BUY, "BTC/USD", "0.02")
        await watch.poll()
        assert await master.fills() == []
        master.account.trade(Side.SELL, "BTC/USD", "0.01")
        await watch.poll()
    bought, sold = await master.planned()
    assert bought.skip_reason is SkipReason.MASTER_EQUITY_UNKNOWN
    assert sold.fraction == Decimal("0.5")
