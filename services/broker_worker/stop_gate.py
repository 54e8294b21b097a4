"""Reads whether an operator has stopped trading for a follower. It is asked right before each send."""

from dataclasses import dataclass

from shared.domain.identity import FollowerId
from shared.domain.stop import StopMode, StopUnknown
from shared.messaging.stops import StopReader, StopStateUnknown


@dataclass(frozen=True, slots=True)
class StopGate:
    """The stops of one broker, as a worker sees them."""

    stops: StopReader

    async def mode_of(self, follower_id: FollowerId) -> StopMode | StopUnknown | None:
        """The stop that applies to the follower. None: it trades. Raises RedisError."""
        try:
            return (await self.stops.now()).mode_of(follower_id)
        except StopStateUnknown as error:
            return StopUnknown(str(error))
