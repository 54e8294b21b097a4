"""Changes followers while the system runs, as a person does with `nija followers pause | resume | replace-key | add`."""

from collections.abc import Mapping

from services.chaos.plan import Kind
from services.demo.accounts import DemoAccounts
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.messaging.connection.connect import open_blocking_redis
from shared.messaging.keys import BrokerKeys
from shared.persistence.followers.store import FollowerStore

ACTOR = "chaos"
ROSTER_CHANGES = frozenset({Kind.CHANGE_STATUS, Kind.REPLACE_KEY, Kind.ADD_FOLLOWER})


class RosterChanges:
    """Changes followers. All methods raise RedisError, OSError and DatabaseUnavailable.

    Every second change of a status or key is not announced, as if its command had been killed after it had stored it.
    """

    def __init__(
        self,
        store: FollowerStore,
        accounts: Mapping[Broker, DemoAccounts],
        in_at_first: int,
        redis_url: str,
    ) -> None:
        """`in_at_first` is the number of each broker's plain accounts that copy from the start. The others join one after
        another. Special followers are not changed, so that it stays known what is right for each.
        """
        self._store = store
        self._accounts = accounts
        self._followers = dict.fromkeys(accounts, in_at_first)
        self._redis_url = redis_url
        self._is_unannounced = False

    def make(self, kind: Kind, broker: Broker, number: int) -> bool:
        """Make one of ROSTER_CHANGES with the follower of that number. Return False when nija has disabled the
        follower.
        """
        follower_id = self._accounts[broker].plain[number % self._followers[broker]].follower_id
        match kind:
            case Kind.CHANGE_STATUS:
                return self._pause_or_resume(broker, follower_id)
            case Kind.REPLACE_KEY:
                self._replace_key(broker, follower_id)
            case _:
                self._add(broker)
        return True

    def _pause_or_resume(self, broker: Broker, follower_id: FollowerId) -> bool:
        status = self._store.get(broker, follower_id).status
        other = {
            FollowerStatus.ACTIVE: FollowerStatus.PAUSED,
            FollowerStatus.PAUSED: FollowerStatus.ACTIVE,
        }.get(status)
        if other is None:
            return False
        return self._store.set_status(broker, follower_id, other, actor=ACTOR, announce=self._announce_or_not)

    def _replace_key(self, broker: Broker, follower_id: FollowerId) -> None:
        """Make nija use the other key of the account. The broker still accepts both."""
        keys = self._accounts[broker].follower_keys[follower_id]
        used = self._store.credentials(broker, [follower_id])[follower_id]
        other = next(key for key in keys if key != used)
        self._store.replace_credentials(broker, follower_id, other, actor=ACTOR, announce=self._announce_or_not)

    def _add(self, broker: Broker) -> None:
        """Let another account copy from the next fill on."""
        next_one = self._accounts[broker].plain[self._followers[broker]]
        # It is already stored if an earlier try failed because PostgreSQL was away.
        if not self._store.taken([next_one]):
            self._store.import_rows([next_one], actor=ACTOR, announce=self._announce)
        self._followers[broker] += 1

    def _announce_or_not(self, broker: Broker) -> None:
        self._is_unannounced = not self._is_unannounced
        if not self._is_unannounced:
            self._announce(broker)

    def _announce(self, broker: Broker) -> None:
        with open_blocking_redis(self._redis_url) as redis:
            redis.incr(BrokerKeys(broker).roster)
