"""A drain on a real Redis respects its places, slow followers, lost claims and unreadable keys."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text
from structlog.testing import capture_logs

from services.broker_worker.drain import Drain
from services.broker_worker.key_ring import KeyRing
from shared.brokers.port.orders import MarketOrder
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker, BrokerOrderId
from shared.messaging.alerts import AlertKind, current_alerts
from shared.messaging.mailboxes import Mailboxes
from shared.messaging.scripts import ScriptRunner
from shared.persistence.database import open_engine
from shared.persistence.errors import DatabaseUnavailable
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from tests.support.examples import an_order
from tests.support.faulty_broker import FaultyAccount
from tests.support.running.worker_bench import CREDENTIALS, KEYS, WorkerBench
from tests.support.strategy_orders import MAILBOX, an_entry, put

NAMES = [f"follower-{number}" for number in range(25)]


class SlowAccount(FaultyAccount):
    """An account whose orders wait until the test opens its door. It counts how many wait at the same time."""

    waiting = 0
    most_waiting = 0

    def close_door(self) -> asyncio.Event:
        self.door = asyncio.Event()
        return self.door

    async def place(self, order: MarketOrder) -> BrokerOrderId:
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        try:
            await self.door.wait()
        finally:
            self.waiting -= 1
        return await super().place(order)


@pytest.fixture
async def redis(fresh_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database."""
    async with Redis.from_url(fresh_redis_url) as client:
        yield client


@pytest.fixture
def account() -> SlowAccount:
    """One account for all followers, with its door closed."""
    slow = SlowAccount()
    slow.close_door()
    return slow


@pytest.fixture
def bench(redis: Redis, account: SlowAccount) -> WorkerBench:
    """A worker with that account, and orders that stay valid while a test waits."""
    bench = WorkerBench(redis, account)
    bench.connection.request_validity_seconds = 60
    return bench


def keys(follower_ids: Sequence[str]) -> Mapping[str, Credentials]:
    """The same key for all followers."""
    return dict.fromkeys(follower_ids, CREDENTIALS)


async def never_lent(*_: object) -> bool:
    """The strategy trades with no key that was read before."""
    return False


def drain_of(bench: WorkerBench, *, places: int = 10, time_box_seconds: float = 10) -> Drain:
    """A drain of the bench's followers."""
    return Drain(
        bench.serving, bench.mailboxes, KeyRing(keys, never_lent), places=places, time_box_seconds=time_box_seconds
    )


async def until_waiting(account: SlowAccount, count: int) -> None:
    """Wait until this number of orders is at the door."""
    async with asyncio.timeout(5):
        while account.waiting < count:
            await asyncio.sleep(0.002)


async def test_a_drain_serves_everybody_and_ends(bench: WorkerBench, account: SlowAccount) -> None:
    """A drain serves more followers than it has places, but never more at the same time, and leaves none.

    A second drain has nothing to do.
    """
    await bench.deliver(*(an_order(name) for name in NAMES))
    with capture_logs() as logs:
        running = asyncio.create_task(drain_of(bench, places=4).run())
        await until_waiting(account, 4)
        account.door.set()
        await running
        assert sorted(e.follower_id for e in await bench.finals()) == sorted(NAMES)
        assert account.most_waiting == 4
        await drain_of(bench).run()
    assert len(account.placed) == len(NAMES)
    # The log shows how many followers a worker has served. A drain without orders logs nothing.
    assert [each for each in logs if each["event"] == "drained"] == [
        {"event": "drained", "followers_with_orders": len(NAMES), "log_level": "info"}
    ]


async def test_slow_followers_hold_their_places_only(bench: WorkerBench, account: SlowAccount) -> None:
    """The time box ends the drain but not the followers in service. The next drain uses the other places."""
    drain = drain_of(bench, places=3, time_box_seconds=0.05)
    await bench.deliver(an_order("slow-1"), an_order("slow-2"))
    await drain.run()
    await until_waiting(account, 2)
    await bench.deliver(*(an_order(name) for name in NAMES[:3]))
    await drain.run()
    assert account.most_waiting == 3
    account.door.set()
    await drain.run()
    await drain.finish(5)
    assert len(await bench.finals()) == 5


async def test_a_drain_that_is_stopped_lets_followers_finish(bench: WorkerBench, account: SlowAccount) -> None:
    """A stopped drain claims no further follower and finishes those in service.

    The rest stays ready for another worker.
    """
    drain = drain_of(bench, places=2)
    await bench.deliver(*(an_order(name) for name in NAMES[:5]))
    running = asyncio.create_task(drain.run())
    await until_waiting(account, 2)
    finishing = asyncio.create_task(drain.finish(5))
    await asyncio.sleep(0)
    account.door.set()
    await asyncio.gather(running, finishing)
    assert len(await bench.finals()) == 2
    assert await bench.redis.zcard(KEYS.ready) == 3
    assert await bench.redis.zcard(KEYS.claims) == 0


async def test_who_does_not_finish_in_time_is_given_back(bench: WorkerBench, account: SlowAccount) -> None:
    """No claim is left, and the submission stays recorded, so that the next worker looks up the order."""
    drain = drain_of(bench)
    await bench.deliver(an_order("alice"))
    running = asyncio.create_task(drain.run())
    await until_waiting(account, 1)
    await drain.finish(0.01)
    await running
    assert (account.waiting, await bench.redis.zcard(KEYS.claims)) == (0, 0)
    assert [claimed.submission for claimed in await bench.claim()] == [await bench.submission()]
    assert await bench.submission() is not None


async def test_who_is_claimed_when_the_drain_is_cut_short_is_given_back(bench: WorkerBench) -> None:
    """PostgreSQL does not return the keys before the process ends.

    The claimed followers are ready for another worker.
    """
    door = threading.Event()

    def no_answer(follower_ids: Sequence[str]) -> Mapping[str, Credentials]:
        door.wait(10)
        return {}

    drain = Drain(bench.serving, bench.mailboxes, KeyRing(no_answer, never_lent), places=10, time_box_seconds=10)
    await bench.deliver(an_order("alice"))
    running = asyncio.create_task(drain.run())
    async with asyncio.timeout(5):
        while not await bench.redis.zcard(KEYS.claims):
            await asyncio.sleep(0.002)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    door.set()
    assert (await bench.redis.zcard(KEYS.claims), await bench.redis.zcard(KEYS.ready)) == (0, 1)


async def test_told_to_stop_a_follower_gets_no_further_order(bench: WorkerBench, account: SlowAccount) -> None:
    """The order in flight is settled. The rest of the mailbox is ready for another worker without delay."""
    drain = drain_of(bench)
    await bench.deliver(*(an_order("alice", sequence) for sequence in (1, 2, 3)))
    running = asyncio.create_task(drain.run())
    await until_waiting(account, 1)
    bench.serving.stopping.set()
    account.door.set()
    await asyncio.gather(running, drain.finish(5))
    assert len(await bench.finals()) == 1
    assert await bench.redis.zcard(KEYS.claims) == 0
    assert [len(claimed.head) > 0 for claimed in (await bench.mailboxes.claim(5))[1]] == [True]


async def test_who_lost_the_claim_is_stopped(bench: WorkerBench, account: SlowAccount) -> None:
    """The renewal notices the lost claim and stops the wait for the broker. Another worker finishes the order."""
    drain = drain_of(bench)
    await bench.deliver(an_order("alice"), an_order("bob"))
    running = asyncio.create_task(drain.run())
    await until_waiting(account, 2)
    await bench.redis.hset(KEYS.fences, "alice", "9" * 16)
    renewing = asyncio.create_task(drain.renew_claims(0.01))
    async with asyncio.timeout(5):
        while account.waiting > 1:
            await asyncio.sleep(0.002)
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)
    account.door.set()
    await running
    assert [e.follower_id for e in await bench.finals()] == ["bob"]
    assert await bench.submission("alice") is not None


async def test_claims_are_renewed_while_a_broker_is_slow(redis: Redis, account: SlowAccount) -> None:
    """An answer takes three times as long as a claim lasts.

    No other worker gets the follower, and the order is settled.
    """
    bench = WorkerBench(redis, account, claim_ms=300)
    bench.connection.request_validity_seconds = 60
    drain = drain_of(bench)
    await bench.deliver(an_order())
    running = asyncio.create_task(drain.run())
    renewing = asyncio.create_task(drain.renew_claims(0.01))
    await until_waiting(account, 1)
    other = Mailboxes(ScriptRunner(redis), KEYS, 300)
    ends_at = asyncio.get_running_loop().time() + 0.9
    while asyncio.get_running_loop().time() < ends_at:
        swept = await other.sweep(limit=9, account_reads=0, account_read_again_ms=1, overdue_ms=1)
        assert swept.expired == 0
        await asyncio.sleep(0.005)
    account.door.set()
    await running
    renewing.cancel()
    await asyncio.gather(renewing, return_exceptions=True)
    assert len(await bench.finals()) == 1


async def test_without_the_follower_store_mail_waits(bench: WorkerBench) -> None:
    """While PostgreSQL is unreachable the follower is released for later, and its order is neither sent nor skipped."""

    def away(follower_ids: Sequence[str]) -> Mapping[str, Credentials]:
        raise DatabaseUnavailable("PostgreSQL is away")

    await bench.deliver(an_order())
    await Drain(bench.serving, bench.mailboxes, KeyRing(away, never_lent), places=3, time_box_seconds=1).run()
    assert await bench.finals() == []
    assert await bench.redis.zcard(KEYS.claims) == 0
    due_ms = await bench.redis.zscore(KEYS.ready, "alice")
    seconds, _ = await bench.redis.time()
    assert due_ms is not None
    assert due_ms > (seconds + 0.9) * 1000


async def test_a_key_that_cannot_be_read_holds_up_its_account_only(bench: WorkerBench, account: SlowAccount) -> None:
    """PostgreSQL goes away after Alice was served. A master account and a new follower wait, and Alice does not."""
    account.door.set()
    is_away = False

    def load(follower_ids: Sequence[str]) -> Mapping[str, Credentials]:
        if is_away:
            raise DatabaseUnavailable("PostgreSQL is away")
        return keys(follower_ids)

    drain = Drain(bench.serving, bench.mailboxes, KeyRing(load, never_lent), places=5, time_box_seconds=5)
    await bench.deliver(an_order("alice", 1))
    await drain.run()
    is_away = True
    await bench.deliver(an_order("alice", 2), an_order("bob", 2))
    await put(bench, an_entry())
    await drain.run()
    assert [(e.follower_id, e.sequence) for e in await bench.finals()] == [("alice", 1), ("alice", 2)]
    assert {name.decode() for name in await bench.redis.zrange(KEYS.ready, 0, -1)} == {"bob", MAILBOX}
    assert await bench.redis.zcard(KEYS.claims) == 0


async def test_a_key_that_does_not_open_holds_up_its_follower_only(redis: Redis, fresh_database_url: str) -> None:
    """A key sealed with another NIJA_SECRET_KEY and a key of unknown form wait with an alert. The others trade."""
    secret_key, other = (Fernet.generate_key() for _ in range(2))
    engine = open_engine(fresh_database_url)
    store, elsewhere = (FollowerStore(engine, SecretBox(SecretStr(key.decode()))) for key in (secret_key, other))
    for name in ("alice", "bob", "shape"):
        store.add(Broker.KRAKEN, name, Credentials(api_key=SecretStr(name), api_secret=SecretStr("c2Vj")), actor="test")
    elsewhere.add(
        Broker.KRAKEN, "strange", Credentials(api_key=SecretStr("strange"), api_secret=SecretStr("c2Vj")), actor="test"
    )
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE followers SET sealed_credentials = :sealed WHERE follower_id = 'shape'"),
            {"sealed": Fernet(secret_key).encrypt(b'{"of": "kraken:shape", "key": "private"}').decode()},
        )
    bench = WorkerBench(redis)
    await bench.deliver(*(an_order(name) for name in ("strange", "shape", "alice", "bob")))
    ring = KeyRing(lambda ids: store.credentials_or_errors(Broker.KRAKEN, ids), never_lent)
    drain = Drain(bench.serving, bench.mailboxes, ring, places=10, time_box_seconds=10)
    await drain.run()
    engine.dispose()
    assert sorted(e.follower_id for e in await bench.finals()) == ["alice", "bob"]
    assert {name.decode() for name in await redis.zrange(KEYS.ready, 0, -1)} == {"shape", "strange"}
    assert await redis.zcard(KEYS.claims) == 0
    alerts = current_alerts(await redis.hvals(KEYS.alerts), datetime.now(UTC))
    assert {(alert.kind, alert.follower_id) for alert in alerts} == {
        (AlertKind.UNREADABLE_KEY, "shape"),
        (AlertKind.UNREADABLE_KEY, "strange"),
    }
    assert not any("private" in alert.message for alert in alerts)
