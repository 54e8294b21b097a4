"""Finds out whether a follower may be removed, and ends what Redis reports about it afterwards."""

import contextlib
from typing import Any

from pydantic import ValidationError
from redis.exceptions import RedisError

from shared.actions.context import ActionContext
from shared.domain.copying.copy_order import CopyOrder
from shared.domain.identity import Broker, FollowerId
from shared.messaging.alerts import AlertKind, alert_field
from shared.messaging.connection.connect import open_blocking_redis
from shared.messaging.connection.errors import RedisUnavailable
from shared.messaging.keys import BrokerKeys


def has_unsettled_order(context: ActionContext, broker: Broker, follower_id: FollowerId) -> bool:
    """Whether an order may be at the broker without a known outcome. Only the follower's key can look it up.

    A replayed order may have been sent before Redis restarted. Raises RedisUnavailable.
    """
    keys = BrokerKeys(broker)
    try:
        with open_blocking_redis(context.access.redis_of(broker).url, as_text=True) as redis:
            submission: Any = redis.hget(keys.submitting, follower_id)
            head: Any = redis.lindex(keys.mailbox(follower_id), 0)
    except (RedisError, OSError) as error:
        raise RedisUnavailable(f"Redis does not answer: {error}; nothing was changed") from error
    try:
        return submission is not None or (head is not None and CopyOrder.model_validate_json(head).replayed)
    except ValidationError:
        return False


def forget_alerts(context: ActionContext, broker: Broker, follower_id: FollowerId) -> None:
    """Remove all alerts of a follower. If Redis fails, they expire later."""
    with (
        contextlib.suppress(RedisError, OSError),
        open_blocking_redis(context.access.redis_of(broker).url) as redis,
    ):
        keys = BrokerKeys(broker)
        redis.hdel(keys.alerts, *(alert_field(kind, follower_id) for kind in AlertKind))
        # A refused key that is there no more must not keep the alert of its address.
        redis.hdel(keys.refused_keys, follower_id)
        redis.hdel(keys.order_waits, follower_id)
