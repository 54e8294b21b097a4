"""On a real Redis the stream `fills` takes each fill once, in order and without gaps."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from redis.asyncio import Redis

from services.master_trader.list_instruments import list_instruments
from shared.domain.copying.master_fill import MasterFill
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.messaging.fills import (
    Publication,
    StreamConflict,
    StreamLostEntries,
    UnreadableFill,
    publish_fill,
    read_fills,
)
from shared.messaging.keys import FILL_FIELD, BrokerKeys

KEYS = BrokerKeys(Broker.KRAKEN)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@pytest.fixture
async def redis(each_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty Redis database, on every version of Redis."""
    async with Redis.from_url(each_redis_url) as client:
        yield client


def fill(sequence: int, fill_id: str = "") -> MasterFill:
    return MasterFill(
        sequence=sequence,
        broker=Broker.KRAKEN,
        master_account="master",
        fill_id=fill_id or f"T{sequence}",
        order_id="O",
        symbol="BTC/USD",
        side=Side.BUY,
        price=Decimal("50000.1"),
        quantity=Decimal("0.02"),
        cost=Decimal("1000.002"),
        fee=Decimal("2.6"),
        fee_currency="USD",
        master_equity_before=Decimal(10_000),
        traded_position_before=Decimal(0),
        fraction_closed=Decimal(0),
        executed_at=NOON,
        published_at=NOON,
        trace_id="trace",
    )


async def test_a_fill_is_published_once_however_often_it_is_sent(redis: Redis) -> None:
    """A repeated publication finds the first one, even behind later fills, and the entry does not change."""
    assert await publish_fill(redis, KEYS, fill(1)) is Publication.PUBLISHED
    assert await publish_fill(redis, KEYS, fill(2)) is Publication.PUBLISHED
    again = fill(1).model_copy(update={"published_at": datetime.now(UTC)})
    assert await publish_fill(redis, KEYS, again) is Publication.ALREADY_THERE
    assert await publish_fill(redis, KEYS, fill(2)) is Publication.ALREADY_THERE
    assert await read_fills(redis, KEYS, 0, 10) == [("1-0", fill(1)), ("2-0", fill(2))]


async def test_twenty_publishers_at_once_leave_one_entry(redis: Redis) -> None:
    """The first of several publishers at the same time succeeds, and the others do not fail."""
    outcomes = await asyncio.gather(*(publish_fill(redis, KEYS, fill(1)) for _ in range(20)))
    assert outcomes.count(Publication.PUBLISHED) == 1
    assert await redis.xlen(KEYS.fills) == 1


async def test_a_stream_that_lost_entries_is_told_apart_and_not_written_to(redis: Redis) -> None:
    """A fill that is published after a gap would hide the gap from all readers."""
    await publish_fill(redis, KEYS, fill(1))
    with pytest.raises(StreamLostEntries, match="ends at 1, but fill 3 is next") as lost:
        await publish_fill(redis, KEYS, fill(3))
    assert lost.value.newest_sequence == 1
    assert await redis.xlen(KEYS.fills) == 1


async def test_an_empty_stream_does_not_take_a_later_fill(redis: Redis) -> None:
    """After FLUSHALL the next number of the ledger is refused, because the stream lacks the earlier ones."""
    with pytest.raises(StreamLostEntries, match="ends at 0"):
        await publish_fill(redis, KEYS, fill(58))
    assert not await redis.exists(KEYS.fills)


async def test_a_stream_of_another_ledger_is_a_conflict(redis: Redis) -> None:
    """Another fill has number 1, which means that REDIS_URL and DATABASE_URL do not belong together."""
    await publish_fill(redis, KEYS, fill(1, "SOMETHING ELSE"))
    with pytest.raises(StreamConflict, match="do not belong together"):
        await publish_fill(redis, KEYS, fill(1))


async def test_an_entry_that_somebody_else_wrote_is_a_conflict_and_never_taken_for_the_fill(redis: Redis) -> None:
    """A foreign entry is not mistaken for the fill. Redis makes its id from the time, far above every sequence."""
    await redis.xadd(KEYS.fills, {FILL_FIELD: "{}"})
    with pytest.raises(StreamConflict):
        await publish_fill(redis, KEYS, fill(1))


async def test_trimming_does_not_make_the_stream_begin_anew(redis: Redis) -> None:
    """Trimmed fills stay published, even if no entry is left."""
    for number in (1, 2, 3):
        await publish_fill(redis, KEYS, fill(number))
    await redis.xtrim(KEYS.fills, maxlen=0)
    assert await publish_fill(redis, KEYS, fill(4)) is Publication.PUBLISHED


@pytest.mark.parametrize(
    ("entry_id", "fields", "reason"),
    [
        ("1-0", {b"fill": b"\xff{"}, "Invalid JSON"),
        ("1-0", {b"fill": b'{"version": 2}'}, "version: Input should be 1"),
        ("1-0", {b"other": b"x"}, "no field 'fill'"),
        ("1-0", {b"fill": fill(2).model_dump_json().encode()}, "not at its place"),
        ("1-5", {b"fill": fill(1).model_dump_json().encode()}, "not at its place"),
        ("1-0", {b"fill": fill(1).model_dump_json().replace("kraken", "okx").encode()}, "not at its place"),
        ("1-0", {b"fill": fill(1).model_dump_json().replace('"1000.002"', "1000.002").encode()}, "cost: "),
    ],
)
async def test_an_entry_that_is_no_fill_comes_out_as_unreadable_with_its_fields(
    redis: Redis, entry_id: str, fields: dict[bytes, bytes], reason: str
) -> None:
    """Reading returns the unreadable entry to its caller and continues with the next one."""
    await redis.xadd(KEYS.fills, fields, id=entry_id)  # type: ignore[arg-type]
    await redis.xadd(KEYS.fills, {FILL_FIELD: fill(2).model_dump_json()}, id="2-0")
    bad, good = await read_fills(redis, KEYS, 0, 10)
    assert isinstance(bad.fill, UnreadableFill)
    assert (bad.entry_id, list(bad.fill.fields)) == (entry_id, [name.decode() for name in fields])
    assert reason in bad.fill.error
    assert good.fill == fill(2)


async def test_reading_goes_on_after_a_number_and_waits_for_the_next_fill(redis: Redis) -> None:
    """Without waiting the end of the stream is an empty list.

    With waiting the reader returns when a fill is published.
    """
    await publish_fill(redis, KEYS, fill(1))
    await publish_fill(redis, KEYS, fill(2))
    assert await read_fills(redis, KEYS, 0, 1) == [("1-0", fill(1))]
    assert await read_fills(redis, KEYS, 2, 10) == []
    waiting = asyncio.create_task(read_fills(redis, KEYS, 2, 10, block_ms=10_000))
    await publish_fill(redis, KEYS, fill(3))
    assert await waiting == [("3-0", fill(3))]


async def test_the_listing_of_instruments_is_replaced_as_a_whole(redis: Redis) -> None:
    """Instruments that the broker no longer lists are removed. An empty listing is ignored as implausible."""

    def listing(*symbols: str) -> dict[str, Instrument]:
        return {
            symbol: Instrument(
                broker=Broker.KRAKEN,
                symbol=symbol,
                base=symbol.split("/")[0],
                quote="USD",
                lot=Decimal("0.00000001"),
                price_tick=Decimal("0.1"),
            )
            for symbol in symbols
        }

    await list_instruments(redis, KEYS, listing("BTC/USD", "LUNA/USD"))
    await list_instruments(redis, KEYS, listing("BTC/USD", "ETH/USD"))
    await list_instruments(redis, KEYS, {})
    stored = await redis.hgetall(KEYS.instruments)
    assert {name.decode(): Instrument.model_validate_json(text) for name, text in stored.items()} == listing(
        "BTC/USD", "ETH/USD"
    )
