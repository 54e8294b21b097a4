"""Provides a Redis with thirty followers, for engines that a test runs itself."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from services.copy_engine import read_fills
from shared.domain.copying.follower import Follower
from shared.messaging.keys import LAST_POLL_FIELD
from tests.integration.copy_engine.engines import KEYS, NAMES
from tests.support.examples import FIRST_ROSTER, a_follower, an_account, an_instrument
from tests.support.prices import store_accounts
from tests.support.running.stops import nothing_stopped


@pytest.fixture
async def redis(fresh_redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Redis]:
    """A client of a database with one instrument, all accounts and a version of the roster."""
    monkeypatch.setattr(read_fills, "BLOCK_MS", 5)
    monkeypatch.setattr(read_fills, "HALTED_RETRY_SECONDS", 0.0)
    async with Redis.from_url(fresh_redis_url) as client:
        await client.set(KEYS.roster, FIRST_ROSTER)
        await nothing_stopped(client, KEYS)
        await client.hset(KEYS.instruments, "BTC/USD", an_instrument().model_dump_json())
        await client.hset(KEYS.master, LAST_POLL_FIELD, "now")
        account = an_account("1000", datetime.now(UTC))
        await store_accounts(client, KEYS, dict.fromkeys([*NAMES, "newcomer"], account))
        yield client


@pytest.fixture
def everybody() -> list[Follower]:
    """The followers that the follower store lists now."""
    return [a_follower(name) for name in NAMES]
