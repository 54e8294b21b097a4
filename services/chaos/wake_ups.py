"""Watches for lost wake-ups while the system runs: a follower with mail must always be ready or claimed.

A lost wake-up would not last, because the next reading of the account would find the mail. So it cannot be seen at the
end. A Lua script checks for it all the time, and each run of the script sees a single instant.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.domain.identity import Broker
from shared.messaging.connection.epoch import run_id_of
from shared.messaging.keys import BrokerKeys
from shared.running import wait

POLL_EVERY_SECONDS = 0.25

# KEYS  1 ready  2 claims  3 epoch
# ARGV  1 prefix of mailboxes  2 run id of this Redis
# Returns {1 if Redis is in line with the ledger, followers with mail that are neither ready nor claimed}
_ASLEEP = """
if redis.call('GET', KEYS[3]) ~= ARGV[2] then return { 0 } end
local result = { 1 }
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
  local follower = string.sub(key, #ARGV[1] + 1)
  if not redis.call('ZSCORE', KEYS[1], follower) and not redis.call('ZSCORE', KEYS[2], follower) then
    result[#result + 1] = follower
  end
end
return result
"""


class WakeUps:
    """Checks all brokers of one Redis several times a second."""

    def __init__(self, redis: Redis, brokers: Sequence[Broker]) -> None:
        self.lost: dict[Broker, set[str]] = {broker: set() for broker in brokers}
        """Followers whose wake-up was lost at some time."""
        self.polls = 0
        """How often a Redis that was in line with the ledger was checked, all brokers together."""
        self._redis = redis

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Check for as long as the block runs."""
        stopping = asyncio.Event()
        watching = asyncio.create_task(self._watch(stopping))
        try:
            yield
        finally:
            # A flag, not a cancellation: a client whose connection breaks at that moment may swallow the cancellation.
            stopping.set()
            await watching

    async def _watch(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            with contextlib.suppress(RedisError, OSError):  # killed or emptied meanwhile: the next check comes soon
                await self._poll()
            await wait(stopping, POLL_EVERY_SECONDS)

    async def _poll(self) -> None:
        run_id = await run_id_of(self._redis)
        for broker, lost in self.lost.items():
            keys = BrokerKeys(broker)
            in_line, *asleep = await self._redis.eval(
                _ASLEEP, 3, keys.ready, keys.claims, keys.epoch, keys.mailbox_prefix, run_id
            )
            self.polls += in_line
            lost.update(follower.decode() for follower in asleep)
