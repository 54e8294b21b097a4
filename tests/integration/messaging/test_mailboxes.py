"""The mailbox scripts on a real Redis handle time, versions and many callers at once.

The state machine of the property tests does not cover these.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.local_system.embedded import run_server
from services.local_system.embedded_redis import RedisServer
from shared.domain.amounts import ZERO
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.identity import Broker, CopyOrderId
from shared.messaging.keys import BrokerKeys, carry_field
from shared.messaging.mailboxes import AlreadyDelivered, ClaimedFollower, ClaimLost, Mailboxes, Submission
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner
from tests.support.examples import FIRST_ROSTER, an_order

KEYS = BrokerKeys(Broker.KRAKEN)
TINY_CLAIM_MS = 40
NOTHING = CopiedPosition(quantity=ZERO, carried_exit=ZERO)


@pytest.fixture
async def redis(each_redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty database, on every version of Redis."""
    async with Redis.from_url(each_redis_url) as client:
        yield client


@pytest.fixture
def mailboxes(redis: Redis) -> Mailboxes:
    """Mailboxes with claims of 40 ms."""
    return Mailboxes(ScriptRunner(redis), KEYS, TINY_CLAIM_MS)


async def deliver(mailboxes: Mailboxes, *names: str, sequence: int = 1, shard: int = 0) -> int:
    """Deliver one order to each of `names`."""
    before = b"" if sequence == 1 else b"%d:*" % (sequence - 1)
    orders = [part for name in names for part in (name, an_order(name, sequence).model_dump_json())]
    return await mailboxes.deliver(shard, before, b"%d:*" % sequence, b"", orders, (), FIRST_ROSTER)


async def sweep(mailboxes: Mailboxes, account_reads: int = 0) -> tuple[int, int, int]:
    """Sweep; return the numbers of expired claims, due accounts and followers that are overdue for more than 20 ms."""
    swept = await mailboxes.sweep(limit=100, account_reads=account_reads, account_read_again_ms=60_000, overdue_ms=20)
    return swept.expired, swept.accounts_due, swept.overdue


async def sweep_until_expired(mailboxes: Mailboxes) -> None:
    """Sweep until a claim has expired."""
    async with asyncio.timeout(5):
        while (await sweep(mailboxes))[0] == 0:
            await asyncio.sleep(0.002)


async def now_ms(redis: Redis) -> float:
    """The time of Redis in ms, which decides about all claims."""
    seconds, microseconds = await redis.time()
    return float(seconds * 1000 + microseconds / 1000)


def submission(attempt: int = 1) -> Submission:
    """A submission of alice's first order."""
    moment = datetime(2026, 1, 5, 12, tzinfo=UTC)
    return Submission(
        copy_order_id=an_order().id,
        stage="submitting",
        attempt=attempt,
        quantity=Decimal("0.001"),
        claimed_at=moment,
        submitted_at=moment,
        valid_until=moment,
    )


async def test_a_claim_runs_out_by_itself_and_not_before(mailboxes: Mailboxes, redis: Redis) -> None:
    """After 40 ms the follower is ready again and gets a higher fence. The old claim is refused."""
    await deliver(mailboxes, "alice")
    before_ms = await now_ms(redis)
    _, (first,) = await mailboxes.claim(1)
    await sweep_until_expired(mailboxes)
    # Redis rounds the moments of a claim down to whole milliseconds.
    assert await now_ms(redis) - before_ms >= TINY_CLAIM_MS - 1
    _, (second,) = await mailboxes.claim(1)
    assert int(second.claim.fence) > int(first.claim.fence)
    with pytest.raises(ClaimLost):
        await mailboxes.record(first.claim, None, submission())
    with pytest.raises(ClaimLost):
        await mailboxes.settle(first.claim, an_order().id, b"late", {"BTC": NOTHING}, None)


async def test_renewing_keeps_a_claim_alive(redis: Redis) -> None:
    """A claim that is renewed for three times its length never expires. A lost claim is returned by name."""
    claim_ms = 300
    mailboxes = Mailboxes(ScriptRunner(redis), KEYS, claim_ms)
    await deliver(mailboxes, "alice", "bob")
    _, (alice, bob) = await mailboxes.claim(2)
    await mailboxes.release(bob.claim)
    ends_at = asyncio.get_running_loop().time() + 3 * claim_ms / 1000
    while asyncio.get_running_loop().time() < ends_at:
        assert await mailboxes.renew([alice.claim, bob.claim]) == ["bob"]
        assert (await sweep(mailboxes))[0] == 0
        await asyncio.sleep(0.005)
    assert await mailboxes.renew([]) == []


async def test_recording_extends_the_claim(redis: Redis, mailboxes: Mailboxes) -> None:
    """The request that follows has the whole length of the claim."""
    await deliver(mailboxes, "alice")
    _, (claimed,) = await mailboxes.claim(1)
    await redis.zadd(KEYS.claims, {"alice": 1})
    before = await now_ms(redis)
    await mailboxes.record(claimed.claim, None, submission())
    expiry_ms = await redis.zscore(KEYS.claims, "alice")
    assert expiry_ms is not None
    assert before - 1 <= expiry_ms - TINY_CLAIM_MS <= await now_ms(redis)


async def test_a_submission_that_another_version_wrote_can_be_gone_on_with(redis: Redis, mailboxes: Mailboxes) -> None:
    """A submission with an unknown field and other spacing, as another version may write it, is still the same one."""
    await deliver(mailboxes, "alice")
    text = submission().model_dump_json().replace('"attempt":1', '"attempt": 1,"a_field_of_the_future":true')
    await redis.hset(KEYS.submitting, "alice", text)
    _, (claimed,) = await mailboxes.claim(1)
    assert claimed.submission == submission()
    await mailboxes.record(claimed.claim, claimed.submission, submission(attempt=2))
    assert await redis.hget(KEYS.submitting, "alice") == submission(attempt=2).model_dump_json().encode()


@pytest.mark.parametrize(
    ("key", "field", "text"),
    [
        (KEYS.submitting, "bob", '{"version":2}'),
        (KEYS.submitting, "bob", "no JSON"),
        (KEYS.positions("bob"), "BTC", '{"quantity":0.1,"carried_exit":"0"}'),
    ],
)
async def test_a_record_that_cannot_be_read_holds_up_its_follower_only(
    redis: Redis, mailboxes: Mailboxes, key: str, field: str, text: str
) -> None:
    """A follower with an unreadable record waits and loses nothing, and the other followers are claimed."""
    await deliver(mailboxes, "alice", "bob", "carol")
    await redis.hset(key, field, text)
    _, claimed = await mailboxes.claim(10)
    assert [c.claim.follower_id for c in claimed] == ["alice", "carol"]
    assert await redis.zscore(KEYS.claims, "bob") is None
    assert (await mailboxes.claim(10))[1] == []
    assert await redis.hget(key, field) == text.encode()
    assert await redis.llen(KEYS.mailbox("bob")) == 1


async def test_who_is_released_for_later_is_not_ready_before(mailboxes: Mailboxes) -> None:
    """After a rate limit the follower is ready 60 ms later and not before."""
    await deliver(mailboxes, "alice")
    _, (claimed,) = await mailboxes.claim(1)
    started = asyncio.get_running_loop().time()
    await mailboxes.release(claimed.claim, ready_in_ms=60)
    async with asyncio.timeout(5):
        while not (await mailboxes.claim(1))[1]:
            await asyncio.sleep(0.002)
    assert asyncio.get_running_loop().time() - started >= 0.055


async def test_mail_that_arrives_while_a_follower_is_served_is_not_lost(mailboxes: Mailboxes) -> None:
    """An order delivered before the settle is the next head. One delivered after it makes the follower ready again."""
    await deliver(mailboxes, "alice", sequence=1)
    _, (claimed,) = await mailboxes.claim(1)
    assert await deliver(mailboxes, "alice", sequence=2) == 0
    reached = await mailboxes.settle(claimed.claim, an_order().id, b"e", {"BTC": NOTHING}, None)
    assert an_order(sequence=2).id.encode() in reached.head
    reached = await mailboxes.settle(claimed.claim, an_order(sequence=2).id, b"e", {"BTC": NOTHING}, None)
    assert reached.head == b""
    assert await deliver(mailboxes, "alice", sequence=3) == 1


async def test_claims_are_oldest_first_and_limited(redis: Redis, mailboxes: Mailboxes) -> None:
    """The follower that has waited longest is claimed first."""
    await deliver(mailboxes, *"abcdef")
    for age, name in enumerate("fedcba"):
        await redis.zadd(KEYS.ready, {name: age + 1})
    _, claimed = await mailboxes.claim(4)
    assert [c.claim.follower_id for c in claimed] == list("fedc")
    assert (await mailboxes.claim(10))[1][0].claim.follower_id == "b"


async def test_a_claim_tells_the_roster_version(redis: Redis, mailboxes: Mailboxes) -> None:
    """The version shows a worker when its keys are outdated. It is 0 before the first change."""
    assert (await mailboxes.claim(1))[0] == 0
    await redis.incrby(KEYS.roster, 7)
    assert (await mailboxes.claim(1))[0] == 7


async def test_what_was_planned_with_another_list_is_not_delivered(redis: Redis, mailboxes: Mailboxes) -> None:
    """The whole delivery is refused: no order, no event, and the shard keeps its position."""
    await redis.incr(KEYS.roster)
    with pytest.raises(AlreadyDelivered):
        await mailboxes.deliver(0, b"", b"1:*", b"e", ["alice", "an order"], ("a field", "1"), FIRST_ROSTER)
    assert await redis.keys() == [KEYS.roster.encode()]
    assert await mailboxes.deliver(0, b"", b"1:*", b"e", ["alice", "an order"], (), FIRST_ROSTER + 1) == 1


async def test_carried_remainders_move_with_the_delivery(redis: Redis, mailboxes: Mailboxes) -> None:
    """A carry is written with its delivery, and deleted when nothing is carried any more."""
    field = carry_field("alice", "BTC")
    await mailboxes.deliver(0, b"", b"1:*", b"", (), [field, "0.5"], FIRST_ROSTER)
    assert await redis.hgetall(KEYS.carries) == {field.encode(): b"0.5"}
    await mailboxes.deliver(0, b"1:*", b"2:*", b"", (), [field, ""], FIRST_ROSTER)
    assert await redis.hgetall(KEYS.carries) == {}


async def test_a_settle_plans_the_reading_of_the_account(redis: Redis, mailboxes: Mailboxes) -> None:
    """A reading may be planned earlier and never later. An order that changes nothing leaves the plan as it is."""
    seconds, _ = await redis.time()
    in_an_hour_ms = (seconds + 3600) * 1000
    await redis.zadd(KEYS.refresh, {"alice": in_an_hour_ms})
    for sequence in (1, 2, 3):
        await deliver(mailboxes, "alice", sequence=sequence)
    _, (claimed,) = await mailboxes.claim(1)
    await mailboxes.settle(claimed.claim, an_order().id, b"e", {"BTC": NOTHING}, None)
    assert await redis.zscore(KEYS.refresh, "alice") == in_an_hour_ms
    await mailboxes.settle(claimed.claim, an_order(sequence=2).id, b"e", {"BTC": NOTHING}, 600_000)
    planned_ms = await redis.zscore(KEYS.refresh, "alice")
    assert planned_ms is not None
    assert 599_000 < planned_ms - seconds * 1000 < 620_000
    await mailboxes.settle(claimed.claim, an_order(sequence=3).id, b"e", {"BTC": NOTHING}, 1_200_000)
    assert await redis.zscore(KEYS.refresh, "alice") == planned_ms


async def test_a_due_account_wakes_its_follower_once(redis: Redis, mailboxes: Mailboxes) -> None:
    """The sweep wakes as many due followers as it may, but no claimed one, and none again before its time."""
    await redis.zadd(KEYS.refresh, dict.fromkeys("abc", 1))
    await deliver(mailboxes, "a")
    await mailboxes.claim(1)
    assert (await sweep(mailboxes, account_reads=2))[1] == 1
    assert (await sweep(mailboxes, account_reads=2))[1] == 1
    assert (await sweep(mailboxes, account_reads=2))[1] == 0
    assert {c.claim.follower_id for c in (await mailboxes.claim(9))[1]} >= {"b", "c"}


async def test_who_waits_too_long_is_counted(mailboxes: Mailboxes) -> None:
    """If a hint is lost, the sweep reports the waiting followers after 20 ms, and no longer once they are claimed."""
    await deliver(mailboxes, "alice", "bob")
    async with asyncio.timeout(5):
        while (await sweep(mailboxes))[2] != 2:
            await asyncio.sleep(0.002)
    await mailboxes.claim(2)
    assert (await sweep(mailboxes))[2] == 0


async def test_a_symbol_that_is_closed_leaves_no_position(redis: Redis, mailboxes: Mailboxes) -> None:
    """A closed position has no field in Redis. A position in another symbol stays."""
    await redis.hset(KEYS.positions("alice"), "ETH", NOTHING.model_dump_json())
    await deliver(mailboxes, "alice")
    _, (claimed,) = await mailboxes.claim(1)
    await mailboxes.settle(claimed.claim, an_order().id, b"e", {"BTC": NOTHING}, None)
    assert await redis.hkeys(KEYS.positions("alice")) == [b"ETH"]


async def test_many_callers_at_once_get_their_own_answers(redis: Redis) -> None:
    """Two processes with pipelined calls serve 200 followers.

    Each order is settled once, by the holder of its claim.
    """
    runners = [Mailboxes(ScriptRunner(redis), KEYS, 60_000) for _ in range(2)]
    names = [f"f{number}" for number in range(200)]
    await deliver(runners[0], *names)
    served: list[str] = []

    async def serve(mailboxes: Mailboxes) -> None:
        while claimed := (await mailboxes.claim(7))[1]:
            await asyncio.gather(*(finish(mailboxes, c.claim.follower_id, c) for c in claimed))

    async def finish(mailboxes: Mailboxes, name: str, claimed: ClaimedFollower) -> None:
        claim = claimed.claim
        assert an_order(name).id.encode() in claimed.head
        await mailboxes.settle(claim, an_order(name).id, name.encode(), {"BTC": NOTHING}, None)
        served.append(name)

    await asyncio.gather(*(serve(mailboxes) for mailboxes in runners for _ in range(3)))
    assert sorted(served) == sorted(names)
    events = [fields[b"event"].decode() for _, fields in await redis.xrange(KEYS.events)]
    assert sorted(events) == sorted(names)


async def test_a_redis_that_forgot_the_scripts_is_taught_them_again(redis: Redis, mailboxes: Mailboxes) -> None:
    """Single and pipelined calls load the lost scripts again, and no call runs twice."""
    await redis.script_flush()
    assert await deliver(mailboxes, "alice") == 1
    await redis.script_flush()
    nonces = RedisNonceSource(ScriptRunner(redis), KEYS)
    firsts = await asyncio.gather(*(nonces.reserve("key", 10) for _ in range(20)))
    assert len(set(firsts)) == 20
    assert all(later - earlier >= 10 for earlier, later in zip(sorted(firsts), sorted(firsts)[1:], strict=False))


async def test_an_error_of_one_call_is_not_the_others(redis: Redis) -> None:
    """A key of a wrong type lets its own call in a pipeline fail, and the other calls are answered."""
    scripts = ScriptRunner(redis)
    await redis.hset(KEYS.nonce("broken"), "not", "a number")
    nonces = RedisNonceSource(scripts, KEYS)
    answers = await asyncio.gather(*(nonces.reserve(key, 1) for key in ("a", "broken", "b")), return_exceptions=True)
    assert [isinstance(answer, RedisError) for answer in answers] == [False, True, False]


async def test_everything_acknowledged_survives_a_killed_redis(server_folder: Path) -> None:
    """After a kill, Redis still has the delivery, the claims and the submission, and fences grow further."""
    server = RedisServer(server_folder / "killed-redis")
    with run_server(server, server_folder / "killed-redis.log") as process:
        async with Redis.from_url(server.url) as client:
            mailboxes = Mailboxes(ScriptRunner(client), KEYS, TINY_CLAIM_MS)
            await deliver(mailboxes, "alice", "bob")
            _, claimed = await mailboxes.claim(2)
            alice = next(c for c in claimed if c.claim.follower_id == "alice")
            await mailboxes.record(alice.claim, None, submission())
            process.kill()
            process.wait()
    with run_server(server, server_folder / "killed-redis.log"):
        async with Redis.from_url(server.url) as client:
            mailboxes = Mailboxes(ScriptRunner(client), KEYS, 60_000)
            again: list[ClaimedFollower] = []
            while len(again) < 2:  # The claim of alice expires later, because recording her submission extended it.
                await sweep_until_expired(mailboxes)
                again += (await mailboxes.claim(2))[1]
            assert {c.claim.follower_id: c.submission for c in again} == {"alice": submission(), "bob": None}
            assert min(int(c.claim.fence) for c in again) > int(alice.claim.fence)
            for follower in again:
                order = CopyOrderId(an_order(follower.claim.follower_id).id)
                await mailboxes.settle(follower.claim, order, b"e", {"BTC": NOTHING}, None)
            assert await client.zcard(KEYS.claims) == await client.zcard(KEYS.ready) == 0
