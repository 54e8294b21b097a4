"""Runs engines in the process of the test, makes fills for them, and reads what reached the followers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from redis.asyncio import Redis

from services.copy_engine.fan_out import FanOut
from services.copy_engine.inputs import PlanningInputs
from services.copy_engine.read_fills import FillReader
from services.copy_engine.roster import Roster
from services.copy_engine.shards import Shards
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.copying.follower import Follower
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import EVENT, DecisionBatch
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.messaging.fills import publish_fill
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import AlreadyDelivered, Mailboxes
from shared.messaging.price_list import present_prices
from shared.messaging.scripts import ScriptRunner
from shared.messaging.shard_position import ShardPosition
from shared.observability.vitals import Duty

KEYS = BrokerKeys(Broker.KRAKEN)
SHARDS = 4
NAMES = [f"follower-{number}" for number in range(30)]
Hook = Callable[[], Awaitable[None]]


class WatchedFanOut(FanOut):
    """A fan-out in which a test can act right before a fill is delivered to a shard."""

    before_delivery: Hook | None = None

    async def deliver_fill(
        self, fill: MasterFill, instrument: Instrument | SkipReason, shard: int, position: bytes, roster: Roster
    ) -> tuple[bytes, int]:
        if self.before_delivery is not None:
            await self.before_delivery()
        return await super().deliver_fill(fill, instrument, shard, position, roster)


@dataclass
class Engine:
    """One engine process."""

    redis: Redis
    followers: list[Follower]
    name: str = "first"
    batch_size: int = 3
    hints: list[int] = field(default_factory=list)
    duty: Duty = field(default_factory=Duty)
    publish_hints: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        inputs = self.inputs = PlanningInputs(self.redis, KEYS, present_prices(self.redis, KEYS))
        mailboxes = Mailboxes(ScriptRunner(self.redis), KEYS, 30_000)
        self.fan_out = WatchedFanOut(
            mailboxes, inputs, lambda *_: set(), batch_size=self.batch_size, snapshot_max_age=timedelta(minutes=5)
        )
        self.shards = Shards(self.redis, KEYS, self.name, SHARDS)
        self.reader = FillReader(
            self.redis,
            KEYS,
            self.shards,
            self.fan_out,
            inputs,
            load_followers=lambda: list(self.followers),
            count_changes=lambda: len(self.followers),
            publish_hints=self.publish_hints or self.hints.append,
            duty=self.duty,
        )

    async def step(self) -> None:
        """Take one step, as `run` does."""
        try:
            await self.reader.step()
        except AlreadyDelivered:
            await self.shards.reload()

    async def catch_up(self, sequence: int) -> None:
        """Step until every owned shard has that fill. Fails after 10 s."""
        async with asyncio.timeout(10):
            while any(ShardPosition.parse(p).done_sequence < sequence for p in self.shards.positions.values()):
                await self.step()


async def publish(redis: Redis, *fills: MasterFill) -> None:
    """Publish the fills with the next sequences."""
    length = await redis.xlen(KEYS.fills)
    for sequence, fill in enumerate(fills, start=length + 1):
        await publish_fill(redis, KEYS, fill.model_copy(update={"sequence": sequence, "fill_id": f"T{sequence}"}))


async def mail(redis: Redis, follower_id: str) -> list[CopyOrder]:
    """The orders of a mailbox, head first."""
    return [CopyOrder.model_validate_json(text) for text in await redis.lrange(KEYS.mailbox(follower_id), 0, -1)]


async def sequences(redis: Redis, follower_id: str) -> list[int]:
    """The sequences of the orders of a follower, in mailbox order."""
    return [order.sequence for order in await mail(redis, follower_id)]


async def decisions(redis: Redis) -> list[tuple[int, str, SkipReason | None]]:
    """Every decision in the event stream."""
    batches = [EVENT.validate_json(fields[b"event"]) for _, fields in await redis.xrange(KEYS.events)]
    return [
        (batch.sequence, decision.follower_id, decision.skip_reason)
        for batch in batches
        if isinstance(batch, DecisionBatch)
        for decision in batch.decisions
    ]


async def assert_everybody_has(redis: Redis, count: int, names: list[str] = NAMES) -> None:
    """Check that each of `names` has the fills 1 to `count` once and in order, and one decision for each."""
    expected = list(range(1, count + 1))
    assert {name: await sequences(redis, name) for name in names} == dict.fromkeys(names, expected)
    reported = [(sequence, name) for sequence, name, _ in await decisions(redis) if name in names]
    assert sorted(reported) == sorted((sequence, name) for sequence in expected for name in names)
