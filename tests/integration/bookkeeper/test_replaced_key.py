"""Tests that a refused key disables its follower only if it is still the key of that follower."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from shared.brokers.errors import KeyRefused
from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.accounts.refused_key import Acceptance, RefusedKey
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker
from shared.persistence.database import open_engine
from tests.support.examples import an_order
from tests.support.faulty_broker import Fate
from tests.support.running.restore_world import KEYS, RestoreWorld

OLD = Credentials(api_key=SecretStr("key-alice"), api_secret=SecretStr("c2VjcmV0"))
MINUTE = timedelta(minutes=1)
NEW = Credentials(api_key=SecretStr("another"), api_secret=SecretStr("c2VjcmV0"))


@pytest.fixture
async def world(fresh_redis_url: str, fresh_database_url: str) -> AsyncIterator[RestoreWorld]:
    """One follower, `alice`, with the key OLD."""
    engine = open_engine(fresh_database_url)
    async with Redis.from_url(fresh_redis_url) as redis:
        world = RestoreWorld(redis, engine, {"alice": Decimal(1000)})
        await world.prepare()
        yield world
    engine.dispose()


async def refused_for_ten_minutes(world: RestoreWorld, *, trading: bool) -> None:
    """Let the key OLD be one that was refused twice, while the account of `bob` was accepted."""
    now = datetime.now(UTC)
    begun = RefusedKey.first("alice", key_hash(OLD.api_key), now - 10 * MINUTE, "EAPI:Invalid key", trading=trading)
    run = begun.again(now - 2 * MINUTE, "EAPI:Invalid key", trading=trading)
    await world.redis.hset(KEYS.refused_keys, "alice", run.model_dump_json())
    witness = Acceptance(account="bob", at=now - 5 * MINUTE)
    field = "direct|order" if trading else "direct|reading"
    await world.redis.hset(KEYS.accepted_keys, field, witness.model_dump_json())


async def status_after_refusal_of_the_old_key(world: RestoreWorld, *, replaced: bool, mail: bool) -> FollowerStatus:
    """Serve `alice` with the key OLD, which the broker refuses; perhaps she has another one since she was claimed."""
    if mail:
        await world.bench.deliver(an_order())
    else:
        await world.redis.zadd(KEYS.ready, {"alice": 0})
    (claimed,) = await world.bench.claim()
    if replaced:
        world.store.replace_credentials(Broker.KRAKEN, "alice", NEW, actor="test")
    await refused_for_ten_minutes(world, trading=mail)
    world.bench.account.fates = [Fate.KEY_REFUSED]
    world.bench.account.read_errors = [] if mail else [KeyRefused("EAPI:Invalid key")]
    await world.bench.serving.follower(claimed, OLD)
    await world.book()
    return world.store.get(Broker.KRAKEN, "alice").status


@pytest.mark.parametrize("mail", [True, False], ids=["an order", "an account"])
async def test_a_follower_is_disabled_for_the_key_that_it_has(world: RestoreWorld, mail: bool) -> None:
    """Whether an order or a reading of the account met the refusal."""
    assert await status_after_refusal_of_the_old_key(world, replaced=False, mail=mail) is FollowerStatus.DISABLED


@pytest.mark.parametrize("mail", [True, False], ids=["an order", "an account"])
async def test_a_refusal_of_a_key_that_was_replaced_disables_nobody(world: RestoreWorld, mail: bool) -> None:
    """The operator gave the follower another key and revoked the old one, which a worker still had in its hands."""
    assert await status_after_refusal_of_the_old_key(world, replaced=True, mail=mail) is FollowerStatus.ACTIVE
    engine, _, _ = world.an_engine("engine")
    await engine.step()
    assert await world.redis.zscore(KEYS.refresh, "alice") is not None, "its account is read again"
