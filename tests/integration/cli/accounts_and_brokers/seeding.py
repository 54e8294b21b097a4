"""Writes into Redis what a worker and a master trader would write."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from redis.asyncio import Redis

from services.broker_worker.read_account import AccountReader
from services.master_trader.report import Report
from shared.brokers.errors import BrokerError
from shared.brokers.registry import profile_of
from shared.domain.accounts.equity import Balance, snapshot
from shared.domain.accounts.reading_schedule import ROUTINE_SECONDS
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.messaging.price_list import PresentPrices
from tests.support.faulty_broker import PRICE, FaultyAccount
from tests.support.prices import LivePrices
from tests.support.running.stage_signs import sign_for

KEYS = BrokerKeys(Broker.KRAKEN)
ROUTES = profile_of(Broker.KRAKEN).price_routes


async def read(redis: Redis, name: str, error: BrokerError | None = None) -> None:
    """Read an account of 1,000 free and 500 held dollars, 0.1 BTC and a coin without a price, or fail with `error`."""
    account = FaultyAccount(free={"USD": Decimal(1_000), "BTC": Decimal("0.1"), "ODD": Decimal(5)})
    reader = AccountReader(
        redis, KEYS, Broker.KRAKEN, PresentPrices(LivePrices({"BTC": PRICE}), ROUTES), ROUTINE_SECONDS
    )
    if error is None:
        await reader.read(name, account, "hash")
    else:
        await reader.failed(name, error)


def in_redis(url: str, work: Callable[[Redis], Any]) -> None:
    async def run() -> None:
        async with Redis.from_url(url) as redis:
            await work(redis)

    asyncio.run(run())


async def report_master(redis: Redis, *, held: str = "500") -> None:
    await sign_for(redis, KEYS)
    report = Report(redis, KEYS, "master", "test", lambda: datetime.now(UTC))
    balances = {"USD": Balance(free=Decimal(1_000), total=Decimal(1_000) + Decimal(held))}
    await report.equity(snapshot(balances, {}, datetime.now(UTC)))
    await report.watching(watched_since=datetime.now(UTC), published_sequence=None)
