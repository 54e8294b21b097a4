"""Plans and delivers one master fill for all followers of one shard, some hundreds of them at a time."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta

from services.copy_engine.decide import decide
from services.copy_engine.inputs import PlanningInputs
from services.copy_engine.position import done, inside
from services.copy_engine.roster import Roster
from shared.domain.copying.follower import Follower
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.reasons import SkipReason
from shared.domain.identity import FollowerId
from shared.domain.instrument import Instrument
from shared.messaging.mailboxes import Mailboxes
from shared.messaging.shard_position import ShardPosition

Decided = Callable[[int, Collection[FollowerId]], set[FollowerId]]
"""Return those of the followers for which the ledger has a decision about that fill. Blocks."""


class FanOut:
    """Plans and delivers. It keeps no state: the position of a shard is the one in Redis."""

    def __init__(
        self,
        mailboxes: Mailboxes,
        inputs: PlanningInputs,
        decided: Decided,
        *,
        batch_size: int,
        snapshot_max_age: timedelta,
    ) -> None:
        self._mailboxes = mailboxes
        self._inputs = inputs
        self._decided = decided
        self._batch_size = batch_size
        self._snapshot_max_age = snapshot_max_age

    async def deliver_fill(
        self, fill: MasterFill, instrument: Instrument | SkipReason, shard: int, position: bytes, roster: Roster
    ) -> tuple[bytes, int]:
        """Deliver what the shard still lacks of the fill. Return its new position and how many followers became ready.

        Raises AlreadyDelivered when another engine moved the shard meanwhile, or when the roster changed.
        """
        reached = ShardPosition.parse(position)
        after = reached.after if reached.sequence == fill.sequence else None
        followers = roster.fan_out_order(shard, fill.sequence, after)
        newly_ready = 0
        if not followers:  # the shard has no followers (any more), but its position moves nevertheless
            await self._mailboxes.deliver(shard, position, done(fill.sequence), b"", (), (), roster.version)
            return done(fill.sequence), 0
        for start in range(0, len(followers), self._batch_size):
            part = followers[start : start + self._batch_size]
            is_last = start + len(part) == len(followers)
            position_after = done(fill.sequence) if is_last else inside(fill.sequence, part[-1].follower_id)
            if fill.replayed:
                part = await self._undecided(fill, part)
            accounts, carried = await self._inputs.accounts_and_carries([f.follower_id for f in part], fill.asset)
            delivery = decide(
                fill,
                shard,
                part,
                accounts,
                carried,
                instrument,
                await self._inputs.stops(),
                now=datetime.now(UTC),
                snapshot_max_age=self._snapshot_max_age,
            )
            newly_ready += await self._mailboxes.deliver(
                shard,
                position,
                position_after,
                delivery.event if part else b"",
                delivery.orders,
                delivery.carries,
                roster.version,
            )
            position = position_after
        return position, newly_ready

    async def _undecided(self, fill: MasterFill, followers: Sequence[Follower]) -> Sequence[Follower]:
        """Return the followers without a decision in the ledger.

        A replayed fill may have been delivered before Redis lost data. Decisions that the ledger has stay valid.
        """
        ids = [follower.follower_id for follower in followers]
        decided = await asyncio.to_thread(self._decided, fill.sequence, ids)
        return [follower for follower in followers if follower.follower_id not in decided]
