"""The collaborators that every action needs, in one frozen object that a front end builds for each request."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from redis.exceptions import RedisError

from shared.actions.errors import ChangeNotAnnounced
from shared.domain.accounts.credentials import Credentials, key_hash
from shared.domain.identity import Broker
from shared.messaging.connection.connect import open_blocking_redis
from shared.messaging.connection.errors import RedisUnavailable
from shared.messaging.connection.server_check import check_redis
from shared.messaging.keys import BrokerKeys
from shared.persistence.api.requests import RequestStore
from shared.persistence.api.tokens import TokenStore
from shared.persistence.followers.store import FollowerStore
from shared.persistence.ledger.targets import Targets
from shared.persistence.reports.reports import Reports
from shared.persistence.stops import StopStore

MASTER: Final = "master"
"""The account name and the role of a master."""
FOLLOWER: Final = "follower"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The URL of a Redis, and the name of the setting that it comes from."""

    setting: str
    url: str = field(repr=False)
    """It may contain a password."""


@dataclass(frozen=True, slots=True)
class BrokerAccess:
    """How the brokers, and the Redis of each of them, are reached."""

    redis_of: Callable[[Broker], RedisAddress]
    """May raise a NijaError when no Redis is set for the broker."""
    base_urls: Mapping[Broker, str]
    """Brokers whose traffic goes to another address than the broker's own."""
    proxies: Mapping[Broker, str] = field(repr=False)
    """URLs, which may contain a password."""
    request_timeout_seconds: float
    nonces_above: Mapping[Broker, int] = field(default_factory=dict)
    """Nonces that other tools have used with keys of a broker."""
    all_paper: bool = False
    """No account is a real one, whatever the brokers report."""


@dataclass(frozen=True, slots=True)
class ActionContext:
    """The collaborators of an action. A front end builds one for each request, on an engine that its requests share.

    `masters`, `withdraw_allowed` and `access.all_paper` are those of the time when the context was built.
    """

    store: FollowerStore
    """Without a secret box, actions that read or write keys raise BadSecretKey."""
    reports: Reports
    targets: Targets
    stops: StopStore
    tokens: TokenStore
    requests: RequestStore
    """Requests that are to be answered once, for front ends whose clients repeat requests."""
    access: BrokerAccess
    masters: Mapping[Broker, Credentials]
    """The keys of the masters that are set here."""
    enabled: tuple[Broker, ...]
    """The brokers that nija is set up to trade at."""
    withdraw_allowed: frozenset[tuple[Broker, str]]
    """Accounts whose keys may withdraw because a setting names them."""
    emergency_folders: tuple[Path, ...] = ()
    """Where a file EMERGENCY_STOP keeps trading stopped."""

    def require_redis(self, brokers: Iterable[Broker]) -> None:
        """Check, before a change, that it can be announced. Raises RedisUnavailable, RedisUnusable.

        A change that the running stages do not hear of would be worse than no change.
        """
        for broker in sorted(set(brokers)):
            address = self.access.redis_of(broker)
            try:
                check_redis(address.setting, address.url, [broker])
            except RedisUnavailable as error:
                raise RedisUnavailable(f"{error}; nothing was changed") from None

    def announce(self, broker: Broker) -> None:
        """Make the engines and workers of a broker load the list of followers again. Raises RedisError."""
        with open_blocking_redis(self.access.redis_of(broker).url) as redis:
            redis.incr(BrokerKeys(broker).roster)

    def announce_stored(self, broker: Broker) -> None:
        """Like `announce`, for a change that is stored already. Raises ChangeNotAnnounced."""
        try:
            self.announce(broker)
        except (RedisError, OSError) as error:
            raise ChangeNotAnnounced(
                f"the change was stored, and reaches the running stages within a minute: Redis does not answer: {error}"
            ) from error

    def is_masters_key(self, broker: Broker, credentials: Credentials) -> bool:
        """Whether the key is the master's own. An account cannot copy itself."""
        master = self.masters.get(broker)
        return master is not None and key_hash(master.api_key) == key_hash(credentials.api_key)

    def may_withdraw(self, broker: Broker, account: str) -> bool:
        """Whether a setting allows the key of this account to be one that may withdraw."""
        return (broker, account) in self.withdraw_allowed
