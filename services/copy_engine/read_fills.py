"""Reads the fills of one broker for the shards that this engine owns, fans them out and sends hints."""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from services.copy_engine.fan_out import FanOut
from services.copy_engine.inputs import ListingUnknown, PlanningInputs
from services.copy_engine.roster import Roster
from services.copy_engine.shards import RENEW_SECONDS, Shards
from shared.domain.copying.follower import Follower
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.reasons import SkipReason
from shared.domain.instrument import Instrument
from shared.messaging.alerts import ALERT_LASTS, AlertKind, Alerts
from shared.messaging.cancellation import end_tasks
from shared.messaging.connection.epoch import RedisNotRestored
from shared.messaging.fills import FillEntry, UnreadableFill, read_fills
from shared.messaging.keys import BrokerKeys
from shared.messaging.mailboxes import AlreadyDelivered
from shared.messaging.shard_position import ShardPosition
from shared.observability.vitals import Duty
from shared.persistence.errors import PersistenceError
from shared.running import wait

ANY_MASTER = "*"  # an entry that cannot be read does not name its master
READ_COUNT = 16
BLOCK_MS = 500
FOLLOWERS_PER_HINT = 48
FOLLOWERS_AT_ONCE = 250
HALTED_RETRY_SECONDS = 5.0
AWAY_RETRY_SECONDS = 1.0
GIVE_UP_SECONDS = 2.0
WATCH_SECONDS = 60.0

log = structlog.get_logger()


class FillReader:
    """The copy engine of one broker."""

    def __init__(
        self,
        redis: Redis,
        keys: BrokerKeys,
        shards: Shards,
        fan_out: FanOut,
        inputs: PlanningInputs,
        load_followers: Callable[[], list[Follower]],
        count_changes: Callable[[], int],
        publish_hints: Callable[[int], None],
        duty: Duty,
    ) -> None:
        """`count_changes` returns a number that grows when the result of `load_followers` changes. Both block.

        `duty` receives reports about the progress of the loop.
        """
        self._redis = redis
        self._keys = keys
        self._shards = shards
        self._fan_out = fan_out
        self._inputs = inputs
        self._load_followers = load_followers
        self._count_changes = count_changes
        self._changes = -1
        """The number of roster changes when the roster was loaded."""
        self._publish_hints = publish_hints
        self._duty = duty
        self._roster = Roster(-1, (), shards.count)
        self._halted = True  # we must assume so: an engine before us may have halted
        self._reached: dict[int, bytes] = {}
        """The positions to which this step has brought each shard. A shard that is suddenly elsewhere waits for the
        next step.
        """
        self._stopping = asyncio.Event()
        self._alerts = Alerts(redis, keys)
        self._alerted: set[tuple[AlertKind, str]] = set()
        self._log = log.bind(broker=keys.broker.value)

    async def run(self, stopping: asyncio.Event) -> None:
        """Work until `stopping` is set. Then finish the current fill and give up the shards."""
        self._stopping = stopping
        balancing = asyncio.create_task(self._keep_shards(stopping))
        watching = asyncio.create_task(self._keep_watch(stopping))
        try:
            # The engine must not continue when the task that renews the shards or the watch has ended. The error is
            # raised below.
            while not (stopping.is_set() or balancing.done() or watching.done()):
                self._duty.turned()
                try:
                    await self._step_or_reload()
                    self._duty.worked()
                except (RedisError, OSError) as error:
                    self._duty.without_server(f"Redis: {error or type(error).__name__}")
                    self._log.warning("redis is away", error=str(error))
                    await wait(stopping, AWAY_RETRY_SECONDS)
                except ListingUnknown as error:
                    self._duty.held_up(f"a fill waits: {error}")
                    self._log.warning("a fill waits", reason=str(error))
                    await wait(stopping, AWAY_RETRY_SECONDS)
                except PersistenceError as error:
                    self._duty.without_server(f"the follower list cannot be read: {error}")
                    self._log.warning("the follower list cannot be read", error=str(error))
                    await wait(stopping, AWAY_RETRY_SECONDS)
        finally:
            await end_tasks(watching)
            if not stopping.is_set():
                await end_tasks(balancing)
            for task in (watching, balancing):
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            with contextlib.suppress(RedisError, OSError):
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    await self._shards.give_up()

    async def _step_or_reload(self) -> None:
        try:
            await self.step()
        except AlreadyDelivered as moved:
            self._log.info("shard taken over", detail=str(moved))
            await self._shards.reload()

    async def step(self) -> None:
        """Read the next fills and deliver them to every owned shard."""
        await self._refresh_roster()
        version = self._roster.version
        if not self._shards.positions:
            await asyncio.sleep(BLOCK_MS / 1000)
            return
        # A shard that is taken over during this step may be at an earlier position, and after a flush of Redis all
        # shards are at the beginning. They wait for the next step, which reads from their positions.
        self._reached = dict(self._shards.positions)
        after = min(ShardPosition.parse(position).done_sequence for position in self._reached.values())
        for entry in await read_fills(self._redis, self._keys, after, READ_COUNT, BLOCK_MS):
            if self._stopping.is_set():
                return
            if isinstance(entry.fill, UnreadableFill):
                await self._halt(entry, entry.fill)
                return
            await self._refresh_roster()
            if self._roster.version != version:
                # A restore may be the reason. Then these entries were read before it, and are not marked as replayed.
                return
            await self._deliver(entry.fill)
        if self._halted:
            await self._redis.hdel(self._keys.halted, ANY_MASTER)
            self._halted = False

    async def _deliver(self, fill: MasterFill) -> None:
        """Deliver to several shards at once, in groups. One fsync serves a group, and hints are sent after each group."""
        instrument = await self._inputs.instrument(fill.symbol)
        group: list[int] = []
        followers = 0
        for shard in sorted(self._reached):
            group.append(shard)
            followers += self._roster.size(shard)
            if followers >= FOLLOWERS_AT_ONCE:
                await self._deliver_to(fill, instrument, group)
                group, followers = [], 0
        await self._deliver_to(fill, instrument, group)

    async def _deliver_to(self, fill: MasterFill, instrument: Instrument | SkipReason, shards: list[int]) -> None:
        deliveries = (self._deliver_to_shard(fill, instrument, shard) for shard in shards)
        # All deliveries end before an error of one is raised, so none of them continues during the next step.
        results = await asyncio.gather(*deliveries, return_exceptions=True)
        newly_ready = sum(result for result in results if isinstance(result, int))
        if newly_ready:
            await self.hint(newly_ready)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _deliver_to_shard(self, fill: MasterFill, instrument: Instrument | SkipReason, shard: int) -> int:
        """Return how many followers became ready."""
        position = self._reached[shard]
        if ShardPosition.parse(position).done_sequence >= fill.sequence:
            return 0
        if self._shards.positions.get(shard) != position:
            self._reached.pop(shard)
            return 0
        reached, newly_ready = await self._fan_out.deliver_fill(fill, instrument, shard, position, self._roster)
        self._reached[shard] = reached
        if shard in self._shards.positions:
            self._shards.positions[shard] = reached
        return newly_ready

    async def hint(self, newly_ready: int) -> None:
        """Wake workers for so many followers that became ready. A hint that cannot be sent is no error."""
        try:
            await asyncio.to_thread(self._publish_hints, math.ceil(newly_ready / FOLLOWERS_PER_HINT))
        except Exception as error:  # noqa: BLE001  whatever kombu raises: the sweep replaces a lost hint
            self._log.warning("hint not sent", error=str(error))

    async def _refresh_roster(self) -> None:
        stored = await self._redis.get(self._keys.roster)
        if stored is None:
            # Each restore writes a version. Without one, the data may be a copy from before the flush.
            raise RedisNotRestored(
                "Redis has no follower list; waiting for the bookkeeper to compare it with the ledger"
            )
        version = int(stored)
        if version == self._roster.version:
            return
        # Count first. A change that comes between the two readings is then noticed later.
        changes = await asyncio.to_thread(self._count_changes)
        roster = Roster(version, await asyncio.to_thread(self._load_followers), self._shards.count)
        usable = roster.with_usable_keys()
        if usable:  # a follower with a planned reading keeps its time; a new follower or key is read soon
            await self._redis.zadd(self._keys.refresh, dict.fromkeys(usable, 0), nx=True)
            # An account that is never read becomes a finding, counted from when it joined.
            await self._redis.zadd(self._keys.account_ages, dict.fromkeys(usable, time.time()), nx=True)
        self._roster, self._changes = roster, changes
        # A restored Redis has a new version too, and its positions may be earlier than the remembered ones.
        await self._shards.reload()
        self._log.info("followers loaded", version=version, followers=len(roster.follower_ids()))

    async def _halt(self, entry: FillEntry, unreadable: UnreadableFill) -> None:
        """Keep the entry for an operator and stop here: skipping a fill would be worse than waiting."""
        fields: dict[Any, Any] = {**unreadable.fields, "error": unreadable.error}
        # Redis refuses the same id again (a retry, another engine), so the entry is kept once.
        with contextlib.suppress(ResponseError):
            await self._redis.xadd(self._keys.dead_letters, fields, id=entry.entry_id)
        why = json.dumps({"entry": entry.entry_id, "error": unreadable.error})
        await self._redis.hset(self._keys.halted, ANY_MASTER, why)
        self._halted = True
        self._log.error("halted: unreadable fill", entry=entry.entry_id, error=unreadable.error)
        await wait(self._stopping, HALTED_RETRY_SECONDS)

    async def _keep_shards(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self._shards.balance()
            except (RedisError, OSError) as error:
                self._log.warning("shards not renewed", error=str(error))
                self._shards.positions = {}
            await wait(stopping, RENEW_SECONDS)

    async def _keep_watch(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self.announce_changes()
                await self.alert()
            except (RedisError, OSError, PersistenceError, ValidationError) as error:  # the last: a broken alert
                self._log.warning("no watch kept", error=str(error))
            await wait(stopping, WATCH_SECONDS)

    async def announce_changes(self) -> None:
        """Make all engines and workers load a roster whose change was not announced.

        The command that changed it was killed, or lost Redis, before it could announce the change.
        """
        if self._changes >= 0 and await asyncio.to_thread(self._count_changes) != self._changes:
            await self._redis.incr(self._keys.roster)

    async def alert(self) -> None:
        """Alert about followers and symbols that open nothing because their data cannot be read. Clear alerts that are
        over.
        """
        await self._inputs.read_unreadable_again()
        present = self._roster.follower_ids()
        unreadable = {each: error for each, error in self._inputs.account_errors.items() if each in present}
        unreadable |= self._roster.policy_errors()
        alerts: dict[tuple[AlertKind, str], str] = {
            (AlertKind.UNREADABLE_FOLLOWER, each): error for each, error in unreadable.items()
        }
        alerts |= {(AlertKind.UNREADABLE_LISTING, each): e for each, e in self._inputs.instrument_errors.items()}
        for kind, subject in self._alerted - alerts.keys():
            await self._alerts.clear(kind, subject)
        self._alerted = set(alerts)
        until = datetime.now(UTC) + ALERT_LASTS
        for (kind, subject), error in alerts.items():
            await self._alerts.sound(kind, subject, error, until=until)
