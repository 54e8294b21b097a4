"""Models the expected state of mailboxes, with the calls of engines and workers that change it and a real Redis."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis.stateful import (
    RuleBasedStateMachine,
)
from redis.asyncio import Redis

from shared.domain.amounts import ZERO
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.identity import Broker, CopyOrderId, copy_order_id
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import (
    AlreadyDelivered,
    Claim,
    ClaimedFollower,
    Mailboxes,
    NextHead,
    Submission,
)
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner
from tests.support.examples import FIRST_ROSTER

SHARDS = {0: ("alice", "bob"), 1: ("carol",)}
FOLLOWERS = [follower for members in SHARDS.values() for follower in members]
KEYS = BrokerKeys(Broker.KRAKEN)
SHORT_MS, LONG_MS = 1, 600_000
MOMENT = datetime(2026, 1, 5, 12, tzinfo=UTC)

_Reply = TypeVar("_Reply")


@dataclass
class Holder:
    """What one worker believes about the follower that it serves. It may be wrong, and then the fence must stop it."""

    claim: Claim
    mailboxes: Mailboxes
    head: bytes
    submission: Submission | None
    is_short: bool
    head_is_settled: bool = False
    """The worker settled the head, and the reply was lost."""

    @property
    def order_id(self) -> CopyOrderId:
        return CopyOrderId(self.head.decode().split('"')[3])

    @property
    def follower(self) -> str:
        return self.claim.follower_id


@dataclass
class Box:
    """The expected state of one follower's mailbox."""

    delivered: list[str] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    owner: Holder | None = None
    submission: Submission | None = None
    position: int = 0
    is_later: bool = False
    """The follower was released until a time that has not come yet."""

    @property
    def pending(self) -> list[str]:
        return self.delivered[len(self.settled) :]


class MailboxModel(RuleBasedStateMachine):
    """Each call goes to Redis and is compared with what the model expects. The rules are in `MailboxProtocol`."""

    redis_url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = Redis.from_url(self.redis_url)
        scripts = ScriptRunner(self.redis)
        self.short = Mailboxes(scripts, KEYS, SHORT_MS)
        self.long = Mailboxes(scripts, KEYS, LONG_MS)
        self.nonces = RedisNonceSource(scripts, KEYS)
        self.boxes = {follower: Box() for follower in FOLLOWERS}
        self.positions = dict.fromkeys(SHARDS, b"")
        self.earlier_positions: list[tuple[int, bytes]] = []
        self.orders = 0
        self.newest_fence = 0
        self.newest_nonce = 0

    def wait_for(self, call: Awaitable[_Reply]) -> _Reply:
        async def run() -> _Reply:
            return await call

        return self.runner.run(run())

    # ---- engines

    def deliver(self, shard: int, position: bytes, names: list[str], after: bytes) -> int:
        """Call deliver once, with an order for each of `names`. Only the id in the order's text matters here."""
        orders = [part for name in names for part in (name, self.new_order(name))]
        return self.wait_for(self.long.deliver(shard, position, after, b"decided", orders, (), FIRST_ROSTER))

    def new_order(self, follower: str) -> str:
        self.orders += 1
        return f'{{"id":"{copy_order_id(Broker.KRAKEN, "main", str(self.orders), follower)}"}}'

    def engine_delivers(self, shard: int, names: list[str], *, reply_lost: bool) -> None:
        """Deliver as the engine that knows the position of the shard. After a lost reply, the engine tries again."""
        before = self.positions[shard]
        after = b"%d:*" % (int(before.partition(b":")[0] or 0) + 1)
        first_order = self.orders
        sleeping = [name for name in names if self.boxes[name].owner is None and not self.boxes[name].pending]
        newly_ready = self.deliver(shard, before, names, after)
        # A follower that waits for a reading of its account is ready without mail. This test has no such follower.
        assert newly_ready == len(sleeping)
        for number, name in enumerate(names):
            order = copy_order_id(Broker.KRAKEN, "main", str(first_order + number + 1), name)
            self.boxes[name].delivered.append(order)
        self.earlier_positions.append((shard, before))
        self.positions[shard] = after
        if reply_lost:
            with pytest.raises(AlreadyDelivered):
                self.deliver(shard, before, names, after)

    def engine_that_lost_its_shard_delivers(self) -> None:
        """An engine with an older position of the shard delivers nothing."""
        for shard, position in (self.earlier_positions[0], self.earlier_positions[-1]):
            with pytest.raises(AlreadyDelivered):
                self.deliver(shard, position, list(SHARDS[shard]), b"999:*")

    # ---- workers

    def hold(self, claimed: ClaimedFollower, mailboxes: Mailboxes, *, is_short: bool) -> Holder:
        box = self.boxes[claimed.claim.follower_id]
        assert box.owner is None
        assert not box.is_later
        assert box.pending[0].encode() in claimed.head
        assert claimed.submission == box.submission
        assert claimed.positions == self.expected_positions(box)
        assert int(claimed.claim.fence) > self.newest_fence
        self.newest_fence = int(claimed.claim.fence)
        box.owner = Holder(claimed.claim, mailboxes, claimed.head, claimed.submission, is_short)
        return box.owner

    def expected_positions(self, box: Box) -> dict[str, CopiedPosition]:
        if not box.position:
            return {}
        return {"BTC": CopiedPosition(quantity=Decimal(box.position), carried_exit=ZERO)}

    def settle(self, box: Box, holder: Holder, order: CopyOrderId) -> NextHead:
        """Call settle once and move the position by one."""
        position = CopiedPosition(quantity=Decimal(box.position + 1), carried_exit=ZERO)
        event = f"final {holder.follower} {order}".encode()
        reached = self.wait_for(holder.mailboxes.settle(holder.claim, order, event, {"BTC": position}, None))
        box.settled.append(order)
        box.position += 1
        box.submission = None
        return reached

    def go_on(self, box: Box, holder: Holder, reached: NextHead) -> None:
        """The worker holds the next order, or the follower has been released."""
        if box.pending:
            assert box.pending[0].encode() in reached.head
            assert reached.positions == self.expected_positions(box)
            holder.head, holder.submission = reached.head, None
        else:
            assert reached.head == b""
            box.owner = None

    # ---- time and counters

    def sweep_once(self, reads: int) -> Any:
        return self.wait_for(
            self.long.sweep(limit=100, account_reads=reads, account_read_again_ms=LONG_MS, overdue_ms=LONG_MS)
        )

    def redis_loses_the_fence_counter(self) -> None:
        """The fencing numbers continue to grow, because a restart takes longer than a millisecond."""
        self.wait_for(self.redis.delete(KEYS.fence))
        self.let_a_millisecond_pass()

    def nonces_grow(self, count: int) -> None:
        """A block of nonces begins after the last nonce of the block before."""
        first = self.wait_for(self.nonces.reserve("key", count))
        assert first > self.newest_nonce
        self.newest_nonce = first + count - 1

    def let_a_millisecond_pass(self) -> None:
        start = time.monotonic()
        while time.monotonic() - start < 0.0025:
            self.wait_for(self.redis.ping())

    # ---- Redis

    def state(self) -> dict[str, Any]:
        async def read() -> list[Any]:
            async with self.redis.pipeline() as pipeline:
                pipeline.zrange(KEYS.ready, 0, -1)
                pipeline.zrange(KEYS.claims, 0, -1)
                pipeline.hgetall(KEYS.fences)
                pipeline.hgetall(KEYS.submitting)
                pipeline.hgetall(KEYS.shards)
                pipeline.xrange(KEYS.events)
                for follower in FOLLOWERS:
                    pipeline.lrange(KEYS.mailbox(follower), 0, -1)
                return await pipeline.execute()

        names = ["ready", "claims", "fences", "submitting", "shards", "events", *FOLLOWERS]
        return dict(zip(names, self.wait_for(read()), strict=True))

    def check_final_events(self, state: dict[str, Any]) -> None:
        """Each settled order has one final event, in the order of delivery. Other orders have none."""
        finals: dict[str, list[str]] = {follower: [] for follower in FOLLOWERS}
        for _, fields in state["events"]:
            word, _, rest = fields[b"event"].decode().partition(" ")
            assert word != "never"
            if word == "final":
                follower, order = rest.split(" ")
                finals[follower].append(order)
        assert finals == {follower: box.settled for follower, box in self.boxes.items()}
