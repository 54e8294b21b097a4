"""The stages of one broker around a real Redis and PostgreSQL, each moved by hand, so that a test may stop anywhere.

The person's fills go in through the ledger; the engine, the worker (with one account in memory) and the bookkeeper
are the real ones. Whatever Redis forgets, `everything_settled` must come true, and `executed` tells the truth.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisAway
from sqlalchemy import Engine, text

from services.bookkeeper.keep_books import Bookkeeper
from services.bookkeeper.restore import Restore
from services.bookkeeper.write import write_entries
from services.copy_engine.fan_out import FanOut
from services.copy_engine.inputs import PlanningInputs
from services.copy_engine.read_fills import FillReader
from services.copy_engine.roster import Roster
from services.copy_engine.shards import Shards
from services.master_trader.list_instruments import list_instruments
from services.master_trader.publish import publish_recorded
from shared.domain.accounts.credentials import Credentials
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.reasons import SkipReason
from shared.domain.fill import Side
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.messaging.epoch import run_id_of
from shared.messaging.event_stream import EventStream, publish_event
from shared.messaging.keys import LAST_POLL_FIELD, BrokerKeys
from shared.messaging.mailboxes import AlreadyDelivered, Mailboxes
from shared.messaging.scripts import ScriptRunner
from shared.messaging.shard_position import ShardPosition
from shared.observability.vitals import Duty
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.copies import Copies
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from tests.support.examples import an_account_fill, an_instrument
from tests.support.ledger_examples import a_snapshot_event
from tests.support.worker_bench import CREDENTIALS, WorkerBench

KRAKEN = Broker.KRAKEN
KEYS = BrokerKeys(KRAKEN)
SHARDS = 4
MASTER_EQUITY = Decimal(100_000)


class PartialFanOut(FanOut):
    """Delivers to the shards that the test lets through; the others find no Redis."""

    open_shards: frozenset[int] = frozenset(range(SHARDS))

    async def deliver_fill(
        self, fill: MasterFill, instrument: Instrument | SkipReason, shard: int, position: bytes, roster: Roster
    ) -> tuple[bytes, int]:
        if shard not in self.open_shards:
            raise RedisAway("this shard is not let through")
        return await super().deliver_fill(fill, instrument, shard, position, roster)


@dataclass
class RestoreWorld:
    """Made after `prepare`."""

    redis: Redis
    engine: Engine
    followers: dict[str, Decimal]
    """Follower → equity, US dollars."""
    fills: int = 0
    bench: WorkerBench = field(init=False)

    async def prepare(self) -> None:
        """Followers with keys, their accounts read and in the ledger, and Redis in line with it."""
        rows = [
            NewFollower(
                broker=KRAKEN,
                follower_id=name,
                credentials=Credentials(api_key=SecretStr(f"key-{name}"), api_secret=SecretStr("c2VjcmV0")),
            )
            for name in self.followers
        ]
        await asyncio.to_thread(self.store.import_rows, rows, actor="test")
        for name, equity in self.followers.items():
            event = a_snapshot_event(name, equity=equity, cash=equity, occurred_at=datetime.now(UTC))
            await publish_event(self.redis, KEYS, event)
        await self.list_instruments()
        self.bench = WorkerBench(self.redis)
        await self.until_in_line()

    @property
    def store(self) -> FollowerStore:
        """With the secret key."""
        return FollowerStore(self.engine, SecretBox(SecretStr("h1JwJ3Cj1m1lKxHqk2oK8w3rJm4Vn0cYy5pQk2s7x0E=")))

    # The stages

    def restore(self, name: str = "the bookkeeper") -> Restore:
        """A bookkeeper's restore."""
        copies, fills, store = Copies(self.engine, KRAKEN), MasterFills(self.engine), FollowerStore(self.engine)
        return Restore(self.redis, KEYS, name, copies, fills, store, SHARDS)

    @asynccontextmanager
    async def bookkeeper(self) -> AsyncIterator[None]:
        """A bookkeeper at work."""
        stopping = asyncio.Event()
        stream = EventStream(self.redis, KEYS, "bookkeeper")
        keeping = Bookkeeper(KRAKEN, stream, Ledger(self.engine), self.restore())
        work = asyncio.create_task(keeping.run(stopping))
        try:
            yield
        finally:
            stopping.set()
            await work

    async def book(self) -> None:
        """Write every event that is there now."""
        stream = EventStream(self.redis, KEYS, "bookkeeper")
        await stream.prepare()
        while entries := await stream.read_own_pending() or await stream.read_new(1):
            await asyncio.to_thread(write_entries, Ledger(self.engine), KRAKEN, entries)
            await stream.acknowledge(entries, roster_changed=False)

    async def until_in_line(self) -> None:
        """Let a bookkeeper bring Redis in line with the ledger."""
        async with self.bookkeeper(), asyncio.timeout(20):
            while not await self.in_line():
                await asyncio.sleep(0.01)

    async def in_line(self) -> bool:
        return bool(await self.redis.get(KEYS.epoch) == (await run_id_of(self.redis)).encode())

    def trade(self, side: Side = Side.BUY, quantity: str = "1") -> None:
        """The master trades; the fill is in the ledger and not yet published."""
        self.fills += 1
        now = datetime.now(UTC)
        fill = an_account_fill(fill_id=f"T{self.fills}", side=side, quantity=quantity, executed_at=now)
        MasterFills(self.engine).record(KRAKEN, "master", [ObservedFill(fill, MASTER_EQUITY)], now)

    async def publish(self) -> None:
        """As a master's process does when it begins, what others left as well."""
        await publish_recorded(self.redis, KEYS, MasterFills(self.engine), lambda: datetime.now(UTC))
        await self.list_instruments()

    async def list_instruments(self) -> None:
        await list_instruments(self.redis, KEYS, {"BTC/USD": an_instrument()})
        await self.redis.hset(KEYS.master, LAST_POLL_FIELD, "now")

    def an_engine(
        self, name: str, redis: Redis | None = None, fan_out_of: type[FanOut] = FanOut
    ) -> tuple[FillReader, Shards, FanOut]:
        """A new engine, its shards and its fan-out; on a connection of its own if one is given."""
        redis = redis or self.redis
        inputs, store = PlanningInputs(redis, KEYS), FollowerStore(self.engine)
        fan_out = fan_out_of(
            Mailboxes(ScriptRunner(redis), KEYS, 60_000),
            inputs,
            Copies(self.engine, KRAKEN).decided,
            batch_size=2,
            snapshot_max_age=timedelta(minutes=5),
        )
        owned = Shards(redis, KEYS, name, SHARDS)
        reader = FillReader(
            redis,
            KEYS,
            owned,
            fan_out,
            inputs,
            load_followers=lambda: store.roster(KRAKEN),
            count_changes=lambda: store.count_changes(KRAKEN),
            publish_hints=lambda _hints: None,
            duty=Duty(),
        )
        return reader, owned, fan_out

    async def deliver(self, shards: frozenset[int] = frozenset(range(SHARDS))) -> None:
        """A new engine delivers every published fill, to these shards only."""
        reader, owned, fan_out = self.an_engine(f"engine-{self.fills}-{len(shards)}", fan_out_of=PartialFanOut)
        assert isinstance(fan_out, PartialFanOut)
        fan_out.open_shards = shards
        await owned.balance()
        async with asyncio.timeout(20):
            while any(
                ShardPosition.parse(position).done_sequence < self.fills
                for shard, position in owned.positions.items()
                if shard in shards
            ):
                try:
                    await reader.step()
                except RedisAway:
                    if shards == frozenset(range(SHARDS)):
                        raise
                except AlreadyDelivered:
                    await owned.reload()
        await owned.give_up()

    async def serve(self, follower_id: str) -> None:
        """Serve one follower once; the others keep their turn."""
        waiting = [name for name in await self.redis.zrange(KEYS.ready, 0, -1) if name != follower_id.encode()]
        if waiting:
            await self.redis.zrem(KEYS.ready, *waiting)
        claimed = await self.bench.claim()
        await self.redis.zadd(KEYS.ready, dict.fromkeys([*waiting, b"nobody"], 0))
        await self.redis.zrem(KEYS.ready, "nobody")
        for each in claimed:
            await self.bench.serving.follower(each, CREDENTIALS)

    async def go_on(self) -> None:
        """Everything runs until every follower of every fill has its end in the ledger."""
        await self.publish()
        await self.deliver()
        async with asyncio.timeout(30):
            while True:
                await self.book()
                if self.finals() == Counter(dict.fromkeys(self.expected(), 1)):
                    return
                await self.bench.serve_once()
                await asyncio.sleep(0.02)

    # What there is

    def expected(self) -> list[tuple[int, str]]:
        return [(sequence, name) for sequence in range(1, self.fills + 1) for name in self.followers]

    def _rows(self, query: str) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def decisions(self) -> Counter[tuple[int, str]]:
        """How often the ledger decided for each fill and follower."""
        return Counter(self._rows("SELECT sequence, follower_id FROM decisions"))

    def finals(self) -> Counter[tuple[int, str]]:
        """How often each order ended, or was skipped."""
        return Counter(
            self._rows(
                "SELECT sequence, follower_id FROM order_events WHERE outcome IS NOT NULL"
                " UNION ALL SELECT sequence, follower_id FROM decisions WHERE skip_reason IS NOT NULL"
            )
        )

    def executed(self) -> Counter[str]:
        """How often the broker executed each client order id."""
        return Counter(str(report.client_order_id) for report in self.bench.account.executed)

    def ordered(self) -> list[str]:
        """The copy orders that the ledger says were copied."""
        return [row[0] for row in self._rows("SELECT copy_order_id FROM order_events WHERE outcome = 'copied'")]

    def ledger_positions(self) -> dict[str, tuple[Decimal, Decimal]]:
        held = Copies(self.engine, KRAKEN).positions()
        return {each.follower_id: (each.position.quantity, each.position.carried_exit) for each in held}

    async def redis_positions(self) -> dict[str, tuple[Decimal, Decimal]]:
        found = {name: await self.bench.position(name) for name in self.followers}
        return {name: (held.quantity, held.carried_exit) for name, held in found.items() if held.quantity}
