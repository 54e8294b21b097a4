"""Bring Redis in line with the ledger: after every start of Redis, and when it was emptied. The ledger decides.

What Redis holds may be older than what happened: an order that was settled may stand in a mailbox again, without the
note that it was sent. So nothing in it is believed. Events that the ledger lacks are written first; then mailboxes,
positions, carried opens and shard positions are made anew from the ledger. Every order without a final state is
marked as replayed, and workers look replayed orders up before they send. Fills that some follower has no decision
for, or that are not marked as published, are put into the stream again, marked as replayed too.

Who restores may be paused, and find on waking that another has done the work: so each write is one transaction that
happens only while the key `restoring` still has this attempt's token. An emptied Redis has no such key either.
The key is extended by a task beside the work, because a query over a long history may outlast it.

Another bookkeeper may be paused, too, with events in hand that Redis has forgotten: the ledger takes nothing any more
that was read before the restore. What of it is true is found again, like everything that Redis forgot.
"""

import asyncio
import contextlib
import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple, Protocol

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError, WatchError

from shared.domain.amounts import plain
from shared.domain.copying.follower import Follower
from shared.domain.copying.master_fill import MasterFill
from shared.domain.errors import NijaError
from shared.domain.instrument import Instrument
from shared.messaging.epoch import end_guarded_connections, run_id_of
from shared.messaging.keys import FILL_FIELD, BrokerKeys, carry_field
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.copies import Copies
from shared.persistence.ledger.master_fills import MasterFills

SCAN_COUNT = 1_000
PIPELINE = 1_000
RESTORING_MS = 20_000
"""How long an attempt keeps the work without a sign of life; it gives one four times as often."""

Command = tuple[str | bytes | int, ...]

log = structlog.get_logger()


class RestoreTakenOver(NijaError):
    """Another bookkeeper restores, or Redis was emptied meanwhile: begin again."""


class Restored(NamedTuple):
    """What was put back."""

    orders: int
    positions: int
    fills: int


class Restores(Protocol):
    """What the loop asks of a restorer."""

    async def is_needed(self) -> bool: ...

    async def begin(self) -> bool: ...

    async def restore(self) -> Restored: ...


class Restorer:
    """Restores one broker's keys. All methods raise RedisError; `restore` also DatabaseUnavailable, RestoreTakenOver.

    `name` is this bookkeeper's: an attempt of the same name that was killed is taken over at once.
    """

    def __init__(
        self,
        redis: Redis,
        keys: BrokerKeys,
        name: str,
        copies: Copies,
        fills: MasterFills,
        followers: FollowerStore,
        shards: int,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._name = name
        self._copies = copies
        self._fills = fills
        self._followers = followers
        self._shards = shards
        self._token = b""
        self._writing = asyncio.Lock()
        """One transaction at a time: each extends the key that the others watch."""

    async def is_needed(self) -> bool:
        """Whether Redis was started or emptied since it was last in line with the ledger."""
        return await self._redis.get(self._keys.epoch) != (await run_id_of(self._redis)).encode()

    async def begin(self) -> bool:
        """Claim the work; False: another bookkeeper does it. One that died in the middle of it begins again at once."""
        token = f"{self._name} {uuid.uuid4().hex}".encode()
        claimed = await self._redis.set(self._keys.restoring, token, nx=True, px=RESTORING_MS)
        if not claimed:
            holder: Any = await self._redis.get(self._keys.restoring)
            if holder is not None and holder.rpartition(b" ")[0] != self._name.encode():
                return False
            await self._redis.set(self._keys.restoring, token, px=RESTORING_MS)
        self._token = token
        if not await self._redis.exists(self._keys.epoch):
            await self._cut_off()
        return True

    async def _cut_off(self) -> None:
        try:
            await end_guarded_connections(self._redis, self._keys)
        except ResponseError as error:
            # Some managed servers forbid it; what is left is the comparison of shard positions.
            log.warning("connections from before cannot be ended", broker=self._keys.broker.value, error=str(error))

    async def restore(self) -> Restored:
        """Put everything back; at the end the other stages may work again.

        All events must be in the ledger before. Safe to repeat from the beginning after a crash.
        """
        ended = asyncio.Event()
        holding = asyncio.create_task(self._hold(ended))
        try:
            return await self._put_back()
        finally:
            ended.set()
            await holding

    async def _hold(self, ended: asyncio.Event) -> None:
        """Extend the key until the attempt ended or was taken over."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), RESTORING_MS / 4_000)
            if ended.is_set():
                return
            try:
                await self._write()
            except RestoreTakenOver:
                return  # as the attempt's next write finds, too
            except (RedisError, OSError) as error:
                log.warning("the restore is not extended", broker=self._keys.broker.value, error=str(error))

    async def _put_back(self) -> Restored:
        run_id = await run_id_of(self._redis)
        await self._forget()
        await asyncio.to_thread(self._copies.begin_restore)
        roster, accounts, instruments, last, published, done = await asyncio.to_thread(self._read_surroundings)
        await self._put_accounts(roster, accounts, instruments)
        positions = await self._put_positions()
        orders = await self._put_mailboxes()
        fills = await self._put_fills(last, published, last if done is None else min(done, last))
        await self._write(
            ("SET", self._keys.epoch, run_id),
            ("DEL", self._keys.restoring),
        )
        return Restored(orders, positions, fills)

    async def _write(self, *commands: Command) -> None:
        """Run the commands (none: only extend the key) in one transaction, if this attempt still has the work."""
        async with self._writing, self._redis.pipeline(transaction=True) as pipeline:
            await pipeline.watch(self._keys.restoring)
            if await pipeline.get(self._keys.restoring) != self._token:
                raise RestoreTakenOver("another bookkeeper restores, or redis was emptied")
            pipeline.multi()  # type: ignore[no-untyped-call]
            pipeline.pexpire(self._keys.restoring, RESTORING_MS)
            for command in commands:
                pipeline.execute_command(*command)
            try:
                await pipeline.execute()
            except WatchError as error:
                raise RestoreTakenOver("another bookkeeper restores, or redis was emptied") from error

    async def _write_many(self, commands: Iterable[Command]) -> None:
        remaining = iter(commands)
        while batch := list(islice(remaining, PIPELINE)):
            await self._write(*batch)

    def _read_surroundings(
        self,
    ) -> tuple[list[Follower], dict[str, str], list[Instrument], int, int, int | None]:
        accounts = {follower: account.model_dump_json() for follower, account in self._copies.accounts().items()}
        broker = self._keys.broker
        return (
            self._followers.roster(broker),
            accounts,
            self._copies.instruments(),
            self._fills.last_sequence(broker),
            self._fills.published_sequence(broker),
            self._copies.done_sequence(),
        )

    async def _forget(self) -> None:
        keys = self._keys
        # `ready` first: from here on nobody is claimed.
        gone = (keys.epoch, keys.ready, keys.leases, keys.fences, keys.submitting, keys.carries, keys.alerts)
        await self._write(("DEL", *gone))
        for prefix in (keys.mailbox_prefix, keys.positions_prefix):
            batch: list[bytes] = []
            # The braces of the hash tag are no pattern characters, so the prefix matches itself.
            async for key in self._redis.scan_iter(match=f"{prefix}*", count=SCAN_COUNT):
                batch.append(key)
                if len(batch) >= PIPELINE:
                    await self._delete(batch)
                    batch.clear()
            if batch:
                await self._delete(batch)

    async def _delete(self, names: list[bytes]) -> None:
        await self._write(("DEL", *names))

    async def _put_accounts(
        self, roster: list[Follower], accounts: dict[str, str], instruments: list[Instrument]
    ) -> None:
        keys = self._keys
        # Never a version that a process may remember: it would keep an old list.
        version = int(datetime.now(UTC).timestamp() * 1_000_000)
        commands: list[Command] = [("SET", keys.roster, version)]
        commands += [("HSETNX", keys.accounts, follower_id, account) for follower_id, account in accounts.items()]
        commands += [("HSETNX", keys.instruments, each.symbol, each.model_dump_json()) for each in instruments]
        commands += [("ZADD", keys.refresh, "NX", 0, follower.follower_id) for follower in roster]
        await self._write_many(commands)

    async def _put_positions(self) -> int:
        keys = self._keys
        carries = await asyncio.to_thread(self._copies.carries)
        positions = await asyncio.to_thread(lambda: list(self._copies.positions()))
        commands: list[Command] = [
            ("HSET", keys.carries, carry_field(owed.follower_id, owed.symbol), plain(owed.quantity)) for owed in carries
        ]
        commands += [
            ("HSET", keys.positions(held.follower_id), held.symbol, held.position.model_dump_json())
            for held in positions
        ]
        await self._write_many(commands)
        return len(positions)

    async def _put_mailboxes(self) -> int:
        orders = await asyncio.to_thread(self._copies.pending, datetime.now(UTC))
        mailboxes: dict[str, list[str]] = defaultdict(list)
        for order in orders:
            mailboxes[order.follower_id].append(order.model_dump_json())
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        # All mailboxes before the first follower is ready.
        await self._write_many(("RPUSH", self._keys.mailbox(follower), *texts) for follower, texts in mailboxes.items())
        await self._write_many(("ZADD", self._keys.ready, now_ms, follower) for follower in mailboxes)
        return len(orders)

    async def _put_fills(self, last: int, published: int, done: int) -> int:
        """Fill the stream with what somebody lacks, and with the last fill, so that its end is where it was.

        Also with what is not marked as published: its master publishes it again, and stands still unless it finds
        its own fill there.
        """
        first = min(done + 1, published + 1, last)
        missing = await asyncio.to_thread(self._all_fills, max(first - 1, 0)) if last else []
        positions = [part for shard in range(self._shards) for part in (shard, f"{done}:*")]
        commands: list[Command] = [("DEL", self._keys.fills, self._keys.shards)]
        if done:
            commands.append(("HSET", self._keys.shards, *positions))
        for fill in missing:
            text = fill.model_copy(update={"replayed": True}).model_dump_json()
            commands.append(("XADD", self._keys.fills, f"{fill.sequence}-0", FILL_FIELD, text))
        await self._write(*commands)
        return sum(1 for fill in missing if fill.sequence > done)

    def _all_fills(self, after: int) -> list[MasterFill]:
        fills: list[MasterFill] = []
        while page := self._fills.after(self._keys.broker, fills[-1].sequence if fills else after):
            fills.extend(page)
        return fills
