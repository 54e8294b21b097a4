"""Puts the strategy's orders into the mailbox of a master account, each once."""

from datetime import timedelta
from typing import Final

from redis.asyncio import Redis

from shared.domain.strategy.execution.orders import StrategyOrder
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import ScriptRunner

MARKS_LAST: Final = timedelta(days=7)
"""Longer than a final event needs to reach the ledger. From then on, no process puts the order again."""


class StrategyMail:
    """The mailboxes of one broker's master accounts. All methods raise RedisError."""

    def __init__(self, redis: Redis, scripts: ScriptRunner, keys: BrokerKeys) -> None:
        """`redis` is guarded, so an order is never put into a Redis that is not in line with the ledger."""
        self._redis = redis
        self._scripts = scripts
        self._keys = keys

    async def roster_version(self) -> int:
        """The version to pass to `put`. Read it before the order is stored."""
        return int(await self._redis.get(self._keys.roster) or 0)

    async def put(self, order: StrategyOrder, roster_version: int | None) -> bool:
        """Put the order into the mailbox, unless it was put before. Return False if it must be put as replayed.

        `roster_version`: None for an order that is marked as replayed. A worker looks such an order up before it sends
        it.
        """
        keys, name = self._keys, order.follower_id
        marks_last_ms = int(MARKS_LAST.total_seconds() * 1000)
        reply: int = await self._scripts.run(
            "put",
            (keys.mailbox(name), keys.ready, keys.claims, keys.roster, keys.strategy_orders),
            [name, order.id, order.model_dump_json(), "" if roster_version is None else roster_version, marks_last_ms],
        )
        return reply >= 0
