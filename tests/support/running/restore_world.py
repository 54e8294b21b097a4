"""Runs the stages of one broker step by step on a real Redis and PostgreSQL, so that a test may stop at any point.

The fills of the master enter through the ledger. The engine, the worker (with one account in memory) and the bookkeeper
are the real ones. After any loss of Redis, `go_on` must succeed; `executed` counts the orders that the broker executed.
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
from shared.messaging.connection.epoch import run_id_of
from shared.messaging.event_stream import EventStream, publish_event
from shared.messaging.keys import LAST_POLL_FIELD, BrokerKeys
from shared.messaging.mailboxes import AlreadyDelivered, Mailboxes
from shared.messaging.price_list import present_prices
from shared.messaging.scripts import ScriptRunner
from shared.messaging.shard_position import ShardPosition
from shared.observability.vitals import Duty
from shared.persistence.followers.import_file import NewFollower
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.copies import Copies
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from shared.persistence.stops import StopStore
from shared.persistence.strategy.pending import StrategyOrders
from tests.support.examples import an_account_fill, an_instrument
from tests.support.ledger_examples import a_snapshot_event
from tests.support.running.worker_bench import CREDENTIALS, WorkerBench

KRAKEN = Broker.KRAKEN
KEYS = BrokerKeys(KRAKEN)
SHARDS = 4
MASTER_EQUITY = Decimal(100_000)


class PartialFanOut(FanOut):
    """Delivers only to the shards in `open_shards`. For the others, Redis appears to be away."""

    open_shards: frozenset[int] = frozenset(range(SHARDS))

    async def deliver_fill(
        self, fill: MasterFill, instrument: Instrument | SkipReason, shard: int, position: bytes, roster: Roster
    ) -> tuple[bytes, int]:
        if shard not in self.open_shards:
            raise RedisAway("this shard is not let through")
        return await super().deliver_fill(fill, instrument, shard, position, roster)


@dataclass
class RestoreWorld:
    """Call `prepare` before anything else."""

    redis: Redis
    engine: Engine
    followers: dict[str, Decimal]
    """Follower id → equity in US dollars."""
    fills: int = 0
    bench: WorkerBench = field(init=False)

    async def prepare(self) -> None:
        """Add followers with keys and a reading of each account, and bring Redis in line with the ledger."""
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
        self.bench = WorkerBench(self.redis, has_stop_state=False)
        await self.until_in_line()

    @property
    def store(self) -> FollowerStore:
        """A store that can decrypt keys."""
        return FollowerStore(self.engine, SecretBox(SecretStr("h1JwJ3Cj1m1lKxHqk2oK8w3rJm4Vn0cYy5pQk2s7x0E=")))

    # The stages

    def restore(self, name: str = "the bookkeeper") -> Restore:
        """A restore, as the bookkeeper makes it."""
        copies, fills, store = Copies(self.engine, KRAKEN), MasterFills(self.engine), FollowerStore(self.engine)
        own = StrategyOrders(self.engine, KRAKEN)
        return Restore(self.redis, KEYS, name, copies, own, fills, store, StopStore(self.engine), SHARDS)

    @asynccontextmanager
    async def bookkeeper(self) -> AsyncIterator[None]:
        """Run a bookkeeper."""
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
        """Write all present events to the ledger."""
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
        """The master trades. The fill is recorded in the ledger, and not yet published."""
        self.fills += 1
        now = datetime.now(UTC)
        fill = an_account_fill(fill_id=f"T{self.fills}", side=side, quantity=quantity, executed_at=now)
        MasterFills(self.engine).record(KRAKEN, "master", [ObservedFill(fill, MASTER_EQUITY, Decimal(1))], now)

    async def publish(self) -> None:
        """Publish all recorded fills, also those of earlier processes, as a master process does at its start."""
        await publish_recorded(self.redis, KEYS, MasterFills(self.engine), lambda: datetime.now(UTC))
        await self.list_instruments()

    async def list_instruments(self) -> None:
        await list_instruments(self.redis, KEYS, {"BTC/USD": an_instrument()})
        await self.redis.hset(KEYS.master, LAST_POLL_FIELD, "now")

    def an_engine(
        self, name: str, redis: Redis | None = None, fan_out_of: type[FanOut] = FanOut
    ) -> tuple[FillReader, Shards, FanOut]:
        """A new engine with its shards and its fan-out. It uses the connection `redis`, if given."""
        redis = redis or self.redis
        inputs, store = PlanningInputs(redis, KEYS, present_prices(redis, KEYS)), FollowerStore(self.engine)
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
        """Let a new engine deliver every published fill, but only to these shards."""
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
        """Serve one follower once. The others stay ready."""
        waiting = [name for name in await self.redis.zrange(KEYS.ready, 0, -1) if name != follower_id.encode()]
        if waiting:
            await self.redis.zrem(KEYS.ready, *waiting)
        claimed = await self.bench.claim()
        await self.redis.zadd(KEYS.ready, dict.fromkeys([*waiting, b"nobody"], 0))
        await self.redis.zrem(KEYS.ready, "nobody")
        for each in claimed:
            await self.bench.serving.follower(each, CREDENTIALS)

    async def go_on(self) -> None:
        """Run all stages until the ledger has one final state for each follower and fill."""
        await self.publish()
        await self.deliver()
        async with asyncio.timeout(30):
            while True:
                await self.book()
                if self.finals() == Counter(dict.fromkeys(self.expected(), 1)):
                    return
                await self.bench.serve_once()
                await asyncio.sleep(0.02)

    # The results

    def expected(self) -> list[tuple[int, str]]:
        return [(sequence, name) for sequence in range(1, self.fills + 1) for name in self.followers]

    def _rows(self, query: str) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]

    def decisions(self) -> Counter[tuple[int, str]]:
        """How many decisions the ledger has for each fill and follower."""
        return Counter(self._rows("SELECT sequence, follower_id FROM decisions"))

    def finals(self) -> Counter[tuple[int, str]]:
        """How many final states the ledger has for each fill and follower. A skip counts as one."""
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
        """The ids of the copy orders that are *copied* in the ledger."""
        return [row[0] for row in self._rows("SELECT copy_order_id FROM order_events WHERE outcome = 'copied'")]

    def ledger_positions(self) -> dict[str, tuple[Decimal, Decimal]]:
        held = Copies(self.engine, KRAKEN).positions()
        return {each.follower_id: (each.position.quantity, each.position.carried_exit) for each in held}

    async def redis_positions(self) -> dict[str, tuple[Decimal, Decimal]]:
        found = {name: await self.bench.position(name) for name in self.followers}
        return {name: (held.quantity, held.carried_exit) for name, held in found.items() if held.quantity}
