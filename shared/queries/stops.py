"""Reads which stops stand, what a stop would concern, and where no process would sell.

Every function blocks and raises DatabaseUnavailable.
"""

from datetime import UTC, datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict
from redis.exceptions import RedisError

from shared.brokers.registry import profile_of
from shared.domain.amounts import ZERO
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import Stop as Stop
from shared.domain.stop import StopMode
from shared.domain.stop import StopScope as StopScope
from shared.messaging.keys import BrokerKeys
from shared.messaging.stage_signs import Stage, StageState
from shared.persistence.followers.store import FollowerStore
from shared.persistence.stops import StopStore, find_scope
from shared.queries.connections import Connections
from shared.queries.pipeline import read_pipeline
from shared.queries.stage_rules import is_fresh
from shared.queries.traders import TraderPosition, read_traders


def read_stop(connections: Connections, broker: Broker) -> StopMode | None:
    """Return how far all accounts of a broker are stopped; None: they are not. Stops of single followers do not count."""
    return StopStore(connections.engine).standing().at(broker).broker_mode


class StopPreview(BaseModel):
    """What a stop of this scope would concern."""

    model_config = ConfigDict(frozen=True)

    scope: StopScope
    followers: int
    """Followers that copy now, opens or only exits. Disabled ones copy nothing."""
    present: Stop | None
    """The stop that this scope has already."""
    positions: tuple[TraderPosition, ...] = ()
    """What the strategy holds in this scope, which the mode flatten sells."""

    @property
    def value_usd(self) -> Decimal:
        """What these positions cost when they were bought."""
        return sum((each.cost for each in self.positions), ZERO)

    @property
    def fees_usd(self) -> Decimal:
        """About what selling them costs, without the distance to the best bid."""
        return sum((each.cost * profile_of(each.broker).fees.taker for each in self.positions), ZERO)


def preview_stop(
    connections: Connections, broker: Broker | None = None, follower_id: FollowerId | None = None
) -> StopPreview:
    """Say what a stop would concern, and change nothing. Raises UnknownFollower, AmbiguousFollower."""
    store = FollowerStore(connections.engine)
    scope = find_scope(store, broker, follower_id)
    copying = [
        record
        for record in store.all(scope.broker)
        if record.status is not FollowerStatus.DISABLED and scope.follower_id in (None, record.follower_id)
    ]
    held: tuple[TraderPosition, ...] = ()
    if scope.follower_id is None:
        brokers = () if scope.broker is None else (scope.broker,)
        held = read_traders(connections, brokers, datetime.now(UTC)).positions
    present = StopStore(connections.engine).standing().of(scope)
    return StopPreview(scope=scope, followers=len(copying), present=present, positions=held)


def without_seller(connections: Connections, broker: Broker | None = None) -> tuple[Broker, ...]:
    """Return the brokers where the strategy holds positions, and no trader would sell them now.

    A trader that runs and does not trade sells nothing: MULTI_BROKER_INDEPENDENT is off, or its key has not passed the
    check. Only the process that trades holds the lease of the account. A process that is starting counts as a seller.
    A broker whose Redis does not answer is left out, because it does not say which processes run.
    """
    brokers = () if broker is None else (broker,)
    holding = [each.broker for each in read_traders(connections, brokers, datetime.now(UTC)).traders if each.positions]
    return tuple(each for each in holding if not _may_have_seller(connections, each))


def _may_have_seller(connections: Connections, broker: Broker) -> bool:
    redis = connections.redis_of(broker)
    try:
        if redis.exists(BrokerKeys(broker).trader_lease):
            return True
        stages = read_pipeline(redis, broker).stages
    except (RedisError, OSError):
        return True
    return any(
        each.stage is Stage.STRATEGY_TRADER and each.state is StageState.STARTING and is_fresh(each) for each in stages
    )
