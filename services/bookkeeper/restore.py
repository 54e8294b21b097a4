"""Rebuilds the data of a broker in Redis from the ledger, after each start of Redis and after a flush.

Redis may hold an older state than the last one. An order that was settled may be in a mailbox again, without the note
*submitting*. Therefore nothing in Redis is trusted. The events that the ledger lacks are written first. Then mailboxes,
copied positions, carries and shard positions are rebuilt from the ledger.

Every order without a final state is marked as replayed, and workers look up replayed orders before they send them. A
fill goes into the stream again if a follower has no decision for it, or if it is not marked as published. It is marked
as replayed too.

A bookkeeper may be paused during a restore while another one does the work. Therefore a restore needs a lease, and each
of its writes is a transaction that happens only while this attempt holds the lease. A flush of Redis removes the lease
too. The lease is renewed during the work, because a query over a long history may last longer than the lease.

Another bookkeeper may be paused with events that Redis has forgotten. After the restore, the ledger refuses events that
were read before it. What really happened is found again in the same way as everything else that Redis forgot.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import islice
from time import monotonic
from typing import NamedTuple

import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from shared.domain.accounts.snapshot import AccountSnapshot, AccountSummary
from shared.domain.amounts import plain
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.copying.follower import Follower
from shared.domain.copying.master_fill import MasterFill
from shared.domain.identity import FollowerId
from shared.domain.instrument import Instrument
from shared.domain.strategy.execution.orders import StrategyOrder
from shared.messaging.connection.epoch import end_guarded_connections, run_id_of
from shared.messaging.keys import FILL_FIELD, BrokerKeys, carry_field
from shared.messaging.lease import Command, Lease, LeaseLost, new_token, work_while_held
from shared.messaging.stops import mirror_command
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.copies import Copies
from shared.persistence.ledger.master_fills import MasterFills
from shared.persistence.stops import StopStore
from shared.persistence.strategy.pending import StrategyOrders

SCAN_COUNT = 1_000
PIPELINE = 1_000
LEASE_SECONDS = 20.0
"""How long other bookkeepers wait after one died during a restore."""

log = structlog.get_logger()


class RestoreReport(NamedTuple):
    """The number of entries that were put back."""

    orders: int
    positions: int
    fills: int


class Restore:
    """Restores one broker's keys. All methods raise RedisError. `complete` also raises DatabaseUnavailable and
    LeaseLost.

    `name` is the name of this bookkeeper. The lease of a process with the same name that was killed is taken over at
    once.
    """

    def __init__(
        self,
        redis: Redis,
        keys: BrokerKeys,
        name: str,
        copies: Copies,
        strategy_orders: StrategyOrders,
        fills: MasterFills,
        followers: FollowerStore,
        stops: StopStore,
        shards: int,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._name = name
        self._copies = copies
        self._strategy_orders = strategy_orders
        self._fills = fills
        self._followers = followers
        self._stops = stops
        self._shards = shards
        self._lease = self._new_lease()

    async def is_needed(self) -> bool:
        """Whether Redis was started or emptied since it was last in line with the ledger."""
        return await self._redis.get(self._keys.epoch) != (await run_id_of(self._redis)).encode()

    async def begin(self) -> bool:
        """Take the lease. Return False when another bookkeeper restores.

        A bookkeeper that died during a restore can begin again at once.
        """
        lease = self._new_lease()
        if not await lease.acquire(replace_owner=True):
            return False
        self._lease = lease
        if not await self._redis.exists(self._keys.epoch):
            await self._cut_off()
        return True

    def _new_lease(self) -> Lease:
        return Lease(self._redis, self._keys.restore_lease, new_token(self._name), LEASE_SECONDS)

    async def _cut_off(self) -> None:
        try:
            await end_guarded_connections(self._redis, self._keys)
        except ResponseError as error:
            # Some managed servers forbid this. Then only the comparison of shard positions protects against old
            # connections.
            log.warning("connections from before cannot be ended", broker=self._keys.broker.value, error=str(error))

    async def complete(self) -> RestoreReport:
        """Put everything back. Afterwards the other stages may work again.

        All events must be in the ledger before. After a crash it is safe to repeat the restore from the beginning.
        """
        asked_at = monotonic()
        if not await self._lease.renew():
            raise LeaseLost("another bookkeeper restores, or Redis was emptied")
        return await work_while_held(self._lease, asked_at, self._put_back)

    async def _put_back(self) -> RestoreReport:
        run_id = await run_id_of(self._redis)
        await self.forget()
        await asyncio.to_thread(self._copies.begin_restore)
        roster, accounts, instruments, last, published, done = await asyncio.to_thread(self._read_surroundings)
        await self._put_accounts(roster, accounts, instruments)
        positions = await self.put_positions()
        orders = await self.put_mailboxes()
        fills = await self.put_fills(last, published, last if done is None else min(done, last))
        # Before the stages may work again. Read last, because the rest may take minutes.
        stops = (await asyncio.to_thread(self._stops.standing)).at(self._keys.broker)
        await self._lease.write(mirror_command(self._keys, stops), ("SET", self._keys.epoch, run_id), then_release=True)
        return RestoreReport(orders, positions, fills)

    async def _write_many(self, commands: Iterable[Command]) -> None:
        remaining = iter(commands)
        while batch := list(islice(remaining, PIPELINE)):
            await self._lease.write(*batch)

    def _read_surroundings(
        self,
    ) -> tuple[list[Follower], dict[str, AccountSnapshot], list[Instrument], int, int, int | None]:
        accounts = {**self._copies.accounts()}
        broker = self._keys.broker
        return (
            self._followers.roster(broker),
            accounts,
            self._copies.instruments(),
            self._fills.last_sequence(broker),
            self._fills.published_sequence(broker),
            self._copies.done_sequence(),
        )

    async def forget(self) -> None:
        """Delete what Redis has of the broker's orders, positions and claims. Part of `complete`."""
        keys = self._keys
        # `ready` comes first: from here on, no follower can be claimed.
        # Alerts stay, because some are raised again only after an hour. An alert that no longer holds expires.
        # The stops are deleted, because Redis may have those of a PostgreSQL that was replaced by a backup.
        gone = (keys.epoch, keys.ready, keys.claims, keys.fences, keys.submitting, keys.carries, keys.stop)
        await self._lease.write(("DEL", *gone, keys.strategy_orders))
        for prefix in (keys.mailbox_prefix, keys.positions_prefix):
            batch: list[bytes] = []
            # The braces of the hash tag are no pattern characters, so the prefix matches only itself.
            async for key in self._redis.scan_iter(match=f"{prefix}*", count=SCAN_COUNT):
                batch.append(key)
                if len(batch) >= PIPELINE:
                    await self._delete(batch)
                    batch.clear()
            if batch:
                await self._delete(batch)

    async def _delete(self, names: list[bytes]) -> None:
        await self._lease.write(("DEL", *names))

    async def _put_accounts(
        self, roster: list[Follower], accounts: dict[str, AccountSnapshot], instruments: list[Instrument]
    ) -> None:
        keys = self._keys
        # Never use a version that a process may remember. That process would keep an outdated roster.
        version = int(datetime.now(UTC).timestamp() * 1_000_000)
        commands: list[Command] = [("SET", keys.roster, version)]
        for follower_id, account in accounts.items():
            summary = AccountSummary.of(account)
            commands += [
                ("HSETNX", keys.accounts, follower_id, account.model_dump_json()),
                ("HSETNX", keys.account_summaries, follower_id, summary.model_dump_json()),
            ]
        commands += [("HSETNX", keys.instruments, each.symbol, each.model_dump_json()) for each in instruments]
        # Redis may have lost own fills, so every account is read again.
        commands += [("ZADD", keys.refresh, 0, follower.follower_id) for follower in roster]
        await self._write_many(commands)

    async def put_positions(self) -> int:
        """Write copied positions and carries, and return the number of positions. Part of `complete`."""
        keys = self._keys
        carries = await asyncio.to_thread(self._copies.carries)
        positions = await asyncio.to_thread(lambda: list(self._copies.positions()))
        commands: list[Command] = [
            ("HSET", keys.carries, carry_field(owed.follower_id, owed.asset), plain(owed.quantity)) for owed in carries
        ]
        commands += [
            ("HSET", keys.positions(held.follower_id), held.asset, held.position.model_dump_json())
            for held in positions
        ]
        await self._write_many(commands)
        return len(positions)

    async def put_mailboxes(self) -> int:
        """Write the pending orders of followers and of the strategy, and return their number. Part of `complete`."""
        copies = await asyncio.to_thread(self._copies.pending, datetime.now(UTC))
        own = await asyncio.to_thread(self._strategy_orders.pending, datetime.now(UTC))
        orders: list[CopyOrder | StrategyOrder] = [*copies, *own]
        mailboxes: dict[FollowerId, list[str]] = defaultdict(list)
        for order in orders:
            mailboxes[order.follower_id].append(order.model_dump_json())
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        # The trader must not put these orders again, which are not marked as replayed in its memory.
        await self._write_many(("ZADD", self._keys.strategy_orders, now_ms, order.id) for order in own)
        # Write all mailboxes before the first follower becomes ready.
        await self._write_many(("RPUSH", self._keys.mailbox(follower), *texts) for follower, texts in mailboxes.items())
        await self._write_many(("ZADD", self._keys.ready, now_ms, follower) for follower in mailboxes)
        return len(orders)

    async def put_fills(self, last: int, published: int, done: int) -> int:
        """Write the fills that a shard still needs into the stream, and return their number. Part of `complete`.

        The last fill is always written, so that the end of the stream stays the same. Fills that are not marked as published are written too. Their master publishes them again, and halts if it finds
        another fill under the number.
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
        await self._lease.write(*commands)
        return sum(1 for fill in missing if fill.sequence > done)

    def _all_fills(self, after: int) -> list[MasterFill]:
        fills: list[MasterFill] = []
        while page := self._fills.after(self._keys.broker, fills[-1].sequence if fills else after):
            fills.extend(page)
        return fills
