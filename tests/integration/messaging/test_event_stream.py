"""Tests that events reach the ledger's reader through a real Redis, in both versions of its protocol."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from shared.domain.events import SnapshotEvent
from shared.domain.identity import Broker
from shared.messaging.event_stream import EventStream, ReadableEntry, add_event, publish_event, read_event
from shared.messaging.keys import BrokerKeys
from tests.support.ledger_examples import a_snapshot_event

KEYS = BrokerKeys(Broker.KRAKEN)
EVENTS = [a_snapshot_event("alice"), a_snapshot_event("bob")]


@pytest.fixture(params=[2, 3], ids=["RESP2", "RESP3"])
async def redis(fresh_redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    async with Redis.from_url(fresh_redis_url, protocol=request.param) as client:
        yield client


async def published(redis: Redis) -> EventStream:
    """The ledger's reader of a stream with two events: one published alone, one in a transaction."""
    stream = EventStream(redis, KEYS, "one")
    await stream.prepare()
    await publish_event(redis, KEYS, EVENTS[0])
    async with redis.pipeline(transaction=True) as pipeline:
        add_event(pipeline, KEYS, EVENTS[1])
        pipeline.set("change", "done")
        await pipeline.execute()
    return stream


async def test_what_is_published_is_read_in_order_and_is_gone_when_it_is_acknowledged(redis: Redis) -> None:
    """The same events come out; until they are acknowledged, the same reader gets them again."""
    stream = await published(redis)
    entries = await stream.read_new(1)
    read = [read_event(entry, Broker.KRAKEN) for entry in entries]
    assert [each.event for each in read if isinstance(each, ReadableEntry)] == EVENTS
    assert all(isinstance(each.event, SnapshotEvent) for each in read if isinstance(each, ReadableEntry))
    assert await stream.read_own_pending() == entries
    assert await stream.read_new(1) == []
    await stream.acknowledge(entries, roster_changed=False)
    assert await stream.read_own_pending() == []
    assert await redis.xlen(KEYS.events) == 0


async def test_an_entry_that_was_trimmed_meanwhile_is_read_without_fields(redis: Redis) -> None:
    """An operator trimmed the stream: the reader gets the id, and can acknowledge it."""
    stream = await published(redis)
    read = await stream.read_new(1)
    await redis.xtrim(KEYS.events, maxlen=1, approximate=False)
    again = await stream.read_own_pending()
    assert [entry.entry_id for entry in again] == [entry.entry_id for entry in read]
    assert (dict(again[0].fields), again[1]) == ({}, read[1])
