"""Stops and resumes trading: everywhere, at one broker, or for one follower.

A stop is stored even if the Redis of a broker does not answer, because the other brokers must stop at once. A process
that cannot read Redis sends nothing, and a bookkeeper mirrors the stop as soon as Redis answers.

Both functions raise ActionRefused, UnknownFollower, AmbiguousFollower and DatabaseUnavailable. Then nothing was changed,
unless PostgreSQL failed during the commit.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from redis.exceptions import RedisError

from shared.actions.context import ActionContext
from shared.actions.errors import ActionRefused
from shared.actions.record_texts import require_recordable
from shared.domain.errors import NijaError
from shared.domain.identity import Broker, FollowerId
from shared.domain.stop import Stop, StopMode, StopScope
from shared.emergency_file import emergency_file
from shared.messaging.connection.connect import open_blocking_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.stops import mirror_command
from shared.persistence.reports.reports import with_followers
from shared.persistence.stops import StandingStops, StopChange, find_scope


@dataclass(frozen=True, slots=True)
class StopResult:
    """A scope after it was stopped or resumed."""

    scope: StopScope
    before: Stop | None
    """The stop of this scope before. None: it was not stopped."""
    standing: tuple[Stop, ...]
    """All stops that stand now, of every scope."""
    unreached: Mapping[Broker, str]
    """Brokers whose Redis did not take the change, with the reason. Their processes see it a second after Redis
    answers.
    """


def stop_trading(
    context: ActionContext,
    mode: StopMode,
    broker: Broker | None = None,
    follower_id: FollowerId | None = None,
    *,
    actor: str,
    reason: str = "",
) -> StopResult:
    """Stop all brokers, one broker or one follower. A scope that is stopped already gets the new mode.

    While a file EMERGENCY_STOP exists, only a halt is accepted.
    """
    require_recordable(actor, reason)
    found = None if mode is StopMode.HALT else emergency_file(context.emergency_folders)
    if found is not None:
        raise ActionRefused(f"the file {found} halts trading, so that {mode.value} would send nothing: remove it first")
    if mode is StopMode.FLATTEN and follower_id is not None:
        raise ActionRefused(
            "the mode flatten sells what the strategy opened for a master: it is for all brokers, or for one broker"
        )
    scope = find_scope(context.store, broker, follower_id)
    return _announced(context, scope, context.stops.change(scope, mode, actor=actor, reason=reason))


def resume_trading(
    context: ActionContext,
    broker: Broker | None = None,
    follower_id: FollowerId | None = None,
    *,
    actor: str,
    reason: str = "",
) -> StopResult:
    """End the stop of exactly this scope. Stops of other scopes stay. Without a stop, nothing is recorded.

    While a file EMERGENCY_STOP exists, nothing is resumed.
    """
    require_recordable(actor, reason)
    found = emergency_file(context.emergency_folders)
    if found is not None:
        raise ActionRefused(f"the file {found} stops trading: remove it, and resume again")
    scope = find_scope(context.store, broker, follower_id)
    return _announced(context, scope, context.stops.change(scope, None, actor=actor, reason=reason))


def _announced(context: ActionContext, scope: StopScope, change: StopChange) -> StopResult:
    # At the same time, so that a Redis that does not answer delays no other broker.
    brokers = _brokers(context, scope)
    with ThreadPoolExecutor(max_workers=len(Broker)) as pool:
        problems = pool.map(partial(_mirror, context, change.standing), brokers)
        unreached = {broker: why for broker, why in zip(brokers, problems, strict=True) if why is not None}
    return StopResult(scope, change.before, change.standing.stops, unreached)


def _brokers(context: ActionContext, scope: StopScope) -> tuple[Broker, ...]:
    if scope.broker is not None:
        return (scope.broker,)
    return context.enabled or with_followers(context.reports.statuses())


def _mirror(context: ActionContext, standing: StandingStops, broker: Broker) -> str | None:
    """Write the stops into the Redis of a broker, and return why that failed."""
    try:
        with open_blocking_redis(context.access.redis_of(broker).url) as redis:
            redis.execute_command(*mirror_command(BrokerKeys(broker), standing.at(broker)))
    except (RedisError, OSError, NijaError) as error:
        return str(error) or type(error).__name__
    return None
