"""While engines work, a follower may join at any time, and every fill has a decision for each present follower.

This holds wherever the joining process is killed.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal

import pytest
from pydantic import SecretStr
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from sqlalchemy import Engine

from services.copy_engine import read_fills
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from shared.messaging.mailboxes import AlreadyDelivered
from shared.persistence.database import open_engine
from shared.persistence.reports.reports import Reports
from tests.support.running.restore_world import KEYS, KRAKEN, RestoreWorld

NEWCOMER = Credentials(api_key=SecretStr("key-newcomer"), api_secret=SecretStr("c2VjcmV0"))


class Killed(BaseException):
    """Ends the process that adds a follower."""


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """An empty, migrated database."""
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
async def world(fresh_redis_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RestoreWorld]:
    """Two followers."""
    monkeypatch.setattr(read_fills, "BLOCK_MS", 5)
    async with Redis.from_url(fresh_redis_url) as redis:
        world = RestoreWorld(redis, engine, {"alice": Decimal(1000), "bob": Decimal(1000)})
        await world.prepare()
        yield world


def announcing(redis_url: str, *, dies_before: bool = False, dies_after: bool = False) -> Callable[[Broker], None]:
    """Announce the change to the stages as `nija followers add` does, or be killed before or after it."""

    def announce(_broker: Broker) -> None:
        if dies_before:
            raise Killed
        with SyncRedis.from_url(redis_url) as redis:
            redis.incr(KEYS.roster)
        if dies_after:
            raise Killed

    return announce


@pytest.mark.parametrize("killed", ["never", "before it told", "after it told"])
async def test_no_fill_waits_for_a_follower_of_whom_no_engine_has_heard(
    world: RestoreWorld, fresh_redis_url: str, killed: str
) -> None:
    """The next fill has a decision for exactly the present followers. The engine does not check for changes between."""
    follower, owned, _ = world.an_engine("engine")
    await owned.balance()
    await follower.step()
    announce = announcing(fresh_redis_url, dies_before=killed == "before it told", dies_after=killed == "after it told")
    try:
        world.store.add(KRAKEN, "newcomer", NEWCOMER, actor="test", announce=announce)
    except Killed:
        assert killed != "never"

    world.trade()
    await world.publish()
    for _ in range(5):
        try:
            await follower.step()
        except AlreadyDelivered:
            await owned.reload()
    await world.book()
    in_now = {each.follower_id for each in world.store.roster(KRAKEN)}
    assert in_now == {"alice", "bob"} | ({"newcomer"} if killed == "never" else set())
    assert set(world.decisions()) == {(1, name) for name in in_now}
    [report] = Reports(world.engine).fills(KRAKEN)
    assert report.followers == len(in_now)
