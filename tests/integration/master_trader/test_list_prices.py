"""The lister of a broker: one process of any number lists, and it lists for a broker without a master too."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from services.master_trader import list_prices
from services.master_trader.list_prices import Lister
from shared.brokers.errors import OutcomeUnknown
from shared.domain.symbol import Symbol
from shared.messaging.lease import Lease
from shared.messaging.price_list import StoredPrices
from tests.integration.master_trader.processes import KEYS, Bench
from tests.support.broker import FakeAccount, FakeConnection

PRICES = {"BTC": Decimal(50_000), "ETH": Decimal(2_500)}
ACCOUNT = FakeAccount({}, dict(PRICES))


@dataclass
class Connection(FakeConnection):
    """Counts how often prices are listed. Fails as long as `error` is set. Lists `listed_next` from a reload on."""

    listed: int = 0
    reloads: int = 0
    listed_next: dict[str, Decimal] = field(default_factory=dict)
    error: list[Exception] = field(default_factory=list)

    async def price_list(self, *arguments: Any) -> dict[Symbol, Decimal]:
        self.listed += 1
        if self.error:
            raise self.error[0]
        return await super().price_list(*arguments)

    async def reload(self) -> None:
        self.reloads += 1
        self.prices_now = {**self.prices_now, **self.listed_next}


@asynccontextmanager
async def listing(redis: Redis, *connections: Connection) -> AsyncIterator[None]:
    """One lister for each connection."""
    stopping = asyncio.Event()
    tasks = [
        asyncio.create_task(
            Lister(lambda connection=connection: connection, redis, KEYS).serve(
                Lease(redis, KEYS.lister_lease, f"lister:{number}", 1.0), stopping
            )
        )
        for number, connection in enumerate(connections)
    ]
    yield
    stopping.set()
    await asyncio.gather(*tasks)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def redis(fresh_redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Redis]:
    monkeypatch.setattr(list_prices, "PRICES_SECONDS", 0.02)
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


async def test_one_process_lists_prices_and_instruments_for_all(redis: Redis) -> None:
    """The spare sends no request. All listers are closed at the end, and the lease is free."""
    connections = Connection(ACCOUNT, PRICES), Connection(ACCOUNT, PRICES)
    async with listing(redis, *connections):

        async def listed() -> bool:
            return sum(each.listed for each in connections) > 5

        await until(listed)
    assert min(each.listed for each in connections) == 0
    assert [each.closed for each in connections] == [each.opened for each in connections]
    assert not await redis.exists(KEYS.lister_lease)
    assert (await StoredPrices(redis, KEYS).read()).prices == {"BTC/USD": 50_000, "ETH/USD": 2_500}
    assert set(await redis.hkeys(KEYS.instruments)) == {b"BTC/USD", b"ETH/USD"}


async def test_instruments_are_read_again_soon_after_the_start(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the key was refused at the start, Alpaca showed a short list. The next reading comes after an hour only."""
    monkeypatch.setattr(list_prices, "INSTRUMENTS_RETRY_SECONDS", 0.1)
    connection = Connection(ACCOUNT, PRICES, listed_next={"SOL": Decimal(150)})

    async def has_new_instrument() -> bool:
        return bool(await redis.hexists(KEYS.instruments, "SOL/USD"))

    async with listing(redis, connection):
        await until(has_new_instrument)
        listed_before = connection.listed

        async def is_listed_for_a_while() -> bool:
            return connection.listed > listed_before + 15

        await until(is_listed_for_a_while)
    assert connection.reloads == 1


async def test_a_list_that_fails_leaves_the_last_prices_and_says_why(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`nija status` shows the broker's words until the next list is written."""
    monkeypatch.setattr(list_prices, "judge", lambda _error, _count: type("", (), {"wait_seconds": 0.02}))
    connection = Connection(ACCOUNT, PRICES)

    async def error() -> bytes:
        return await redis.hget(KEYS.lister, "error") or b""

    async def has_prices() -> bool:
        return not (await StoredPrices(redis, KEYS).read()).is_empty

    async def has_failed() -> bool:
        return await error() == b"OutcomeUnknown: HTTP 502"

    async def is_over() -> bool:
        return await error() == b""

    async with listing(redis, connection):
        await until(has_prices)
        connection.error.append(OutcomeUnknown("HTTP 502"))
        await until(has_failed)
        assert (await StoredPrices(redis, KEYS).read()).prices["BTC/USD"] == 50_000
        connection.error.clear()
        await until(is_over)


async def test_a_broker_without_a_master_has_prices_and_instruments(bench: Bench) -> None:
    """The process runs without a key, lists, and reports which variables would name a master."""
    process = bench.start_master(KRAKEN_MASTER_API_KEY="", KRAKEN_MASTER_API_SECRET="")

    async def listed() -> bool:
        return bool(await bench.redis.hlen(KEYS.prices) and await bench.redis.hlen(KEYS.instruments))

    await bench.until("listed prices", listed)
    await bench.until_state("failed", "set KRAKEN_MASTER_API_KEY and KRAKEN_MASTER_API_SECRET")
    assert process.poll() is None
