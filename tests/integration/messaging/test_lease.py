"""Tests the lease on a real Redis, on every version of it."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.messaging.lease import Lease, LeaseLost, new_token, work_while_held

KEY = "lease"


@pytest.fixture
async def redis(each_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty Redis database."""
    async with Redis.from_url(each_redis_url) as client:
        yield client


def lease(redis: Redis, token: str, seconds: float = 5.0) -> Lease:
    return Lease(redis, KEY, token, seconds)


async def test_one_process_holds_the_lease_until_it_gives_it_back(redis: Redis) -> None:
    """Asking again keeps it. Another process gets it only afterwards, and cannot renew or release it before."""
    first, second = lease(redis, "first"), lease(redis, "second")
    assert await first.acquire()
    assert await first.acquire()
    assert not await second.acquire()
    assert not await second.renew()
    assert not await second.release()
    assert await first.release()
    assert await second.acquire()
    assert not await first.renew()


async def test_the_lease_of_a_dead_process_runs_out(redis: Redis) -> None:
    """After a kill -9 nothing has to be cleaned up."""
    assert await lease(redis, "dead", seconds=0.2).acquire()
    spare = lease(redis, "spare")
    deadline = monotonic() + 5
    while not await spare.acquire():
        assert monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_work_is_cancelled_as_soon_as_another_process_has_the_lease(redis: Redis) -> None:
    """Losing the lease stops the work within a third of its length."""
    held = lease(redis, "held", seconds=0.6)
    working, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        working.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    assert await held.acquire()
    watching = asyncio.create_task(work_while_held(held, monotonic(), work))
    await working.wait()
    await redis.set(KEY, "another")
    with pytest.raises(LeaseLost, match="another process"):
        await watching
    assert cancelled.is_set()


async def test_work_goes_on_far_beyond_the_first_length_of_the_lease(redis: Redis) -> None:
    """It is renewed as long as the work lasts; the work's result ends it."""
    held, done = lease(redis, "held", seconds=0.3), asyncio.Event()

    async def work() -> None:
        await done.wait()

    assert await held.acquire()
    began = monotonic()
    watching = asyncio.create_task(work_while_held(held, began, work))
    while monotonic() < began + 1:
        assert not await lease(redis, "spare").acquire()
        await asyncio.sleep(0.05)
    done.set()
    await watching


async def test_the_error_of_the_work_comes_out(redis: Redis) -> None:
    """The lease hides nothing."""
    held = lease(redis, "held")

    async def work() -> None:
        raise ZeroDivisionError

    assert await held.acquire()
    with pytest.raises(ZeroDivisionError):
        await work_while_held(held, monotonic(), work)


async def test_work_ends_when_redis_stays_away_longer_than_the_lease(redis: Redis) -> None:
    """Another process may hold a lease that was not renewed, whatever this process can see."""

    class Unreachable(Lease):
        async def renew(self) -> bool:
            raise RedisConnectionError("Redis is away")

    held = Unreachable(redis, KEY, "held", 0.5)
    began = monotonic()
    with pytest.raises(LeaseLost, match="expired"):
        await work_while_held(held, began, asyncio.Event().wait)  # type: ignore[arg-type]
    assert monotonic() - began >= 0.5


async def test_work_returns_its_result(redis: Redis) -> None:
    """The holder gets what the work found, as if it had called the work itself."""
    held = lease(redis, "held")

    async def work() -> int:
        return 42

    assert await held.acquire()
    assert await work_while_held(held, monotonic(), work) == 42


async def test_a_paused_process_neither_extends_nor_ends_the_lease_of_its_successor(redis: Redis) -> None:
    """The lease expired during the pause and another process took it: nothing of it changes."""
    paused, successor = lease(redis, "paused", seconds=0.05), lease(redis, "successor", seconds=60)
    assert await paused.acquire()
    await asyncio.sleep(0.1)
    assert await successor.acquire()
    assert not await paused.renew(600)
    assert not await paused.release()
    with pytest.raises(LeaseLost):
        await paused.write(("SET", "written", "1"))
    assert await redis.get(KEY) == b"successor"
    assert 50_000 < await redis.pttl(KEY) <= 60_000
    assert not await redis.exists("written")


async def test_an_expired_lease_cannot_be_renewed(redis: Redis) -> None:
    """The process must acquire it again, in competition with all others."""
    held = lease(redis, "held", seconds=0.05)
    assert await held.acquire()
    await asyncio.sleep(0.1)
    assert not await held.renew()
    assert await held.acquire()


async def test_a_lease_can_be_kept_for_another_length_than_its_own(redis: Redis) -> None:
    """A length that is over already leaves the lease for the shortest time there is."""
    held = lease(redis, "held", seconds=60)
    assert await held.acquire()
    assert await held.renew(5)
    assert 4_000 < await redis.pttl(KEY) <= 5_000
    assert await held.renew(-3)
    await asyncio.sleep(0.02)
    assert not await redis.exists(KEY)


async def test_an_owner_that_was_killed_takes_its_own_lease_back_at_once(redis: Redis) -> None:
    """Only the owner's earlier token is replaced: not another owner's, not one of a name that begins alike."""
    killed = lease(redis, new_token("bookkeeper@one:1"), seconds=60)
    assert await killed.acquire(replace_owner=True)
    again = lease(redis, new_token("bookkeeper@one:1"), seconds=60)
    assert not await again.acquire()
    for other in ("bookkeeper@two", "bookkeeper@one", "bookkeeper@one:1:1"):
        assert not await lease(redis, new_token(other)).acquire(replace_owner=True)
    assert await again.acquire(replace_owner=True)
    assert not await killed.renew()


async def test_what_is_written_under_the_lease_is_written_once_and_extends_it(redis: Redis) -> None:
    """Writes and renewals of one holder that meet each other all succeed; the last write ends the lease."""
    held = lease(redis, "held", seconds=60)
    assert await held.acquire()
    await redis.pexpire(KEY, 1_000)
    await asyncio.gather(*(held.write(("HINCRBY", "written", "times", 1)) for _ in range(50)), held.renew())
    assert await redis.hget("written", "times") == b"50"
    assert await redis.pttl(KEY) > 50_000
    await held.write(("SET", "last", "1"), then_release=True)
    assert await redis.exists(KEY, "last") == 1
    with pytest.raises(LeaseLost):
        await held.write(("SET", "late", "1"))
    assert not await redis.exists("late")
