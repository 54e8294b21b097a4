"""Opens the accounts of followers, and notes whether the broker accepts or refuses their keys."""

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from redis.asyncio import Redis

from services.broker_worker.read_account import AccountReader
from shared.brokers.errors import KeyRefused
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.accounts.refused_key import RETRY_AFTER, RefusedKey
from shared.domain.events import FollowerDisabled
from shared.domain.identity import FollowerId
from shared.messaging.event_stream import publish_event
from shared.messaging.keys import BrokerKeys
from shared.messaging.refused_keys import RefusedKeys

log = structlog.get_logger()


@dataclass(slots=True)
class Access:
    """The account of a follower, the hash of the key that opens it, and the last refusals of this key."""

    account: BrokerAccount
    key_hash: str
    refused: RefusedKey | None


@dataclass(frozen=True, slots=True)
class FollowerKeys:
    """The keys of one broker's followers."""

    redis: Redis
    keys: BrokerKeys
    connection: BrokerConnection
    accounts: AccountReader
    refused_keys: RefusedKeys

    async def open(self, follower_id: FollowerId, credentials: Credentials) -> Access:
        """Open the account of a follower. Raises RedisError."""
        hashed = key_hash(credentials.api_key)
        refused = await self.refused_keys.of(follower_id, hashed)
        return Access(self.connection.account(credentials), hashed, refused)

    def wait_seconds(self, access: Access) -> float:
        """How long the key is not tried, because it was refused a moment ago."""
        return max(access.refused.waits(self.refused_keys.now()).total_seconds(), 0.0) if access.refused else 0.0

    async def accepted(self, follower_id: FollowerId, access: Access, *, trading: bool) -> None:
        """Note that the broker accepted the key, for trading or for reading only."""
        await self.refused_keys.accepted(follower_id, access.refused, trading=trading)
        access.refused = access.refused.accepted(trading=trading) if access.refused else None

    async def refused(self, follower_id: FollowerId, access: Access, error: KeyRefused, *, trading: bool) -> None:
        """Note the refusal, and have the key tried again later. Disable the follower when the key itself is bad."""
        log.error("key refused", follower=follower_id, error=str(error))
        refusal = await self.refused_keys.refused(follower_id, access.key_hash, str(error), trading=trading)
        access.refused = refusal.run
        if not refusal.is_to_be_disabled:
            await self.accounts.postpone(follower_id, RETRY_AFTER.total_seconds())
            return
        # Forget the account first. After the event, the engines load the roster and plan a reading if the key is new.
        await self.accounts.forget(follower_id)
        event = FollowerDisabled(
            broker=self.keys.broker,
            follower_id=follower_id,
            message=str(error),
            key_hash=access.key_hash,
            occurred_at=datetime.now(UTC),
        )
        await publish_event(self.redis, self.keys, event)
