"""Change followers while the system runs, as a person does with `nija followers pause | resume | replace-key`."""

from collections.abc import Mapping

from redis import Redis

from services.cli.demo.accounts import DemoAccounts
from shared.domain.follower import FollowerStatus
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.persistence.followers import FollowerStore

ACTOR = "chaos"


class RosterChanges:
    """Chooses followers by number. All methods raise RedisError, OSError and DatabaseUnavailable.

    Every second change is one whose command was killed when it had stored it: nobody is told.
    """

    def __init__(self, store: FollowerStore, accounts: Mapping[Broker, DemoAccounts], redis_url: str) -> None:
        self._store = store
        self._accounts = accounts
        self._redis_url = redis_url
        self._made = 0

    def pause_or_resume(self, broker: Broker, number: int) -> bool:
        """Pause who copies, let who is paused copy again; False: nija has disabled them."""
        follower_id = self._chosen(broker, number)
        status = self._store.get(broker, follower_id).status
        other = {
            FollowerStatus.ACTIVE: FollowerStatus.PAUSED,
            FollowerStatus.PAUSED: FollowerStatus.ACTIVE,
        }.get(status)
        if other is None:
            return False
        return self._store.set_status(broker, follower_id, other, actor=ACTOR, announce=self._announce)

    def replace_key(self, broker: Broker, number: int) -> None:
        """Have nija use the account's other key; the broker still takes both."""
        follower_id = self._chosen(broker, number)
        keys = self._accounts[broker].follower_keys[follower_id]
        used = self._store.credentials(broker, [follower_id])[follower_id]
        other = next(key for key in keys if key != used)
        self._store.replace_credentials(broker, follower_id, other, actor=ACTOR, announce=self._announce)

    def _chosen(self, broker: Broker, number: int) -> str:
        followers = self._accounts[broker].followers
        return followers[number % len(followers)].follower_id

    def _announce(self, broker: Broker) -> None:
        self._made += 1
        if self._made % 2:
            with Redis.from_url(self._redis_url, socket_timeout=5, socket_connect_timeout=5) as redis:
                redis.incr(BrokerKeys(broker).roster)
