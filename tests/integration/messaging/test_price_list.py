"""The price list of a broker in a real Redis: one process writes it, and all others read it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from shared.domain.accounts.price_list import EarlierPrice, PriceList
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys
from shared.messaging.price_list import PriceListWriter, StoredPrices, present_prices

KEYS = BrokerKeys(Broker.KRAKEN)
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
BTC, ETH, NEW = Symbol("BTC", "USD"), Symbol("ETH", "USD"), Symbol("NEW", "BTC")


@pytest.fixture
async def redis(fresh_redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


async def read(redis: Redis) -> PriceList:
    """What a process reads that has read nothing before."""
    return await StoredPrices(redis, KEYS).read()


async def test_a_pair_that_the_newest_list_lacks_keeps_its_last_price_and_time(redis: Redis) -> None:
    """A ticker that fails once is no price of zero, and the age of the last price is known."""
    writer = PriceListWriter(redis, KEYS)
    await writer.write({BTC: Decimal("50000.10"), ETH: Decimal(3000)}, NOW)
    await writer.write({BTC: Decimal(50_001)}, later(2))
    await writer.write({BTC: Decimal(50_001)}, later(4))
    assert await read(redis) == PriceList(later(4), {BTC: Decimal(50_001)}, {ETH: EarlierPrice(Decimal(3000), NOW)})
    await writer.write({BTC: Decimal(50_001), ETH: Decimal(3001)}, later(6))
    assert await read(redis) == PriceList(later(6), {BTC: Decimal(50_001), ETH: Decimal(3001)})


async def test_only_prices_that_changed_are_written(redis: Redis) -> None:
    """Redis logs each write. Most pairs do not trade within two seconds."""
    writer = PriceListWriter(redis, KEYS)
    pairs = {Symbol(f"C{number}", "USD"): Decimal(1) for number in range(3_000)}
    await writer.write(pairs, NOW)
    before = int((await redis.info("stats"))["total_net_input_bytes"])
    await writer.write({**pairs, BTC: Decimal(2)}, later(2))
    assert int((await redis.info("stats"))["total_net_input_bytes"]) - before < 1_000
    assert len((await read(redis)).prices) == 3_001


async def test_another_process_goes_on_with_the_last_known_prices(redis: Redis) -> None:
    """A lister that takes over knows the earlier list. One that comes back does not rely on what it remembers."""
    first, second = PriceListWriter(redis, KEYS), PriceListWriter(redis, KEYS)
    await first.write({BTC: Decimal(1), ETH: Decimal(2)}, NOW)
    await second.write({BTC: Decimal(3)}, later(2))
    await first.write({BTC: Decimal(1)}, later(4))
    assert await read(redis) == PriceList(later(4), {BTC: Decimal(1)}, {ETH: EarlierPrice(Decimal(2), NOW)})


async def test_a_redis_that_was_emptied_has_the_whole_list_again_with_the_next_one(redis: Redis) -> None:
    """The writer notices that what it wrote is gone."""
    writer = PriceListWriter(redis, KEYS)
    await writer.write({BTC: Decimal(1)}, NOW)
    await redis.flushdb()
    assert (await read(redis)).is_empty
    await writer.write({BTC: Decimal(1)}, later(2))
    assert await read(redis) == PriceList(later(2), {BTC: Decimal(1)})


async def test_followers_keep_their_value_while_no_process_lists_prices(redis: Redis) -> None:
    """The age of a price counts against the newest list, so a list that stops takes no value away.

    A coin that the lists of an hour lacked has no price any more. Before the first list, nothing is known.
    """
    assert await present_prices(redis, KEYS).now() is None
    writer = PriceListWriter(redis, KEYS)
    await writer.write({BTC: Decimal(50_000), NEW: Decimal("0.002"), ETH: Decimal(3000)}, NOW)
    await writer.write({BTC: Decimal(50_000), NEW: Decimal("0.002")}, later(3_600))
    prices = await present_prices(redis, KEYS).now()
    assert prices is not None
    assert prices.among(["BTC", "NEW", "ETH", "USD", "ODD"]) == {"BTC": 50_000, "NEW": 100, "ETH": 3000, "USD": 1}
    await writer.write({BTC: Decimal(50_000)}, later(3_601))
    prices = await present_prices(redis, KEYS).now()
    assert prices is not None
    assert prices["ETH"] is None


async def test_assets_are_named_only_for_a_broker_that_shows_prices_by_name(redis: Redis) -> None:
    """Alpaca lists ten thousand stocks. Only those that an account holds are requested."""
    for broker, needed in ((Broker.KRAKEN, []), (Broker.ALPACA, ["AAPL", "BTC"])):
        keys = BrokerKeys(broker)
        await StoredPrices(redis, keys).need(frozenset({"BTC", "AAPL"}))
        assert sorted(await PriceListWriter(redis, keys).needed()) == needed


async def test_many_readers_at_once_cause_one_reading(redis: Redis) -> None:
    """The list of a broker is large, and the followers of a process need it at the same moment."""
    await PriceListWriter(redis, KEYS).write({BTC: Decimal(50_000)}, NOW)

    async def readings() -> int:
        commands = await redis.info("commandstats")
        return int(commands.get("cmdstat_hgetall", {}).get("calls", 0))

    prices, before = StoredPrices(redis, KEYS), await readings()
    lists = await asyncio.gather(*(prices.read() for _ in range(16)))
    assert await readings() == before + 1
    assert {each.prices[BTC] for each in lists} == {50_000}
