"""Plans what will be broken and in which order, from a seed and a size. Pure: the same seed gives the same plan."""

import random
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from shared.domain.identity import Broker

ORDERS_PER_INJECTION = 250
"""5,000 copy orders get 20 injections of each kind, which is the maximum."""
MOST_OF_A_KIND = 20


class Kind(StrEnum):
    """What is done to the system."""

    KILL_MASTER = "kill master_trader"
    KILL_ENGINE = "kill copy_engine"
    KILL_WORKER = "kill broker_worker"
    KILL_CHILD = "kill worker child"
    KILL_BOOKKEEPER = "kill bookkeeper"
    PAUSE_MASTER = "pause master_trader"
    PAUSE_ENGINE = "pause copy_engine"
    PAUSE_WORKER = "pause broker_worker"
    PAUSE_CHILD = "pause worker child"
    PAUSE_BOOKKEEPER = "pause bookkeeper"
    KILL_BROKER = "kill paper broker"
    PAUSE_BROKER = "pause paper broker"
    KILL_REDIS = "kill redis"
    KILL_POSTGRES = "kill postgres"
    CUT_REDIS = "cut connections to redis"
    CUT_POSTGRES = "cut connections to postgres"
    EMPTY_REDIS = "empty redis"
    OLDER_REDIS = "older redis"
    DROP_HINTS = "drop hints"
    DOUBLE_HINTS = "double hints"
    REORDER_HINTS = "reorder hints"
    DOUBLE_FILL = "publish a fill twice"
    CHANGE_STATUS = "pause or resume a follower"
    REPLACE_KEY = "replace a follower's key"
    ADD_FOLLOWER = "add a follower"
    REFUSE_KEY = "refuse a follower's key"
    REPLY_LOST = "reply_lost"
    HANG = "hang"
    HANG_EXECUTED = "hang after execution"
    HTTP_ERROR = "http_error"
    HTTP_ERROR_EXECUTED = "http_error after execution"
    RATE_LIMIT = "rate_limit"
    INVALID_NONCE = "invalid_nonce"
    RESET = "reset"
    LATENCY = "latency"
    PARTIAL_FILL = "partial_fill"
    LATE_FILL = "late_fill"
    LATE_VISIBILITY = "late_visibility"


PAPER_FAULTS: dict[Kind, dict[str, object]] = {
    Kind.REPLY_LOST: {"kind": "reply_lost"},
    Kind.HANG: {"kind": "hang", "seconds": 12},
    Kind.HANG_EXECUTED: {"kind": "hang", "seconds": 12, "executed": True},
    Kind.HTTP_ERROR: {"kind": "http_error", "status": 502},
    Kind.HTTP_ERROR_EXECUTED: {"kind": "http_error", "status": 504, "executed": True},
    Kind.RATE_LIMIT: {"kind": "rate_limit"},
    Kind.INVALID_NONCE: {"kind": "invalid_nonce"},
    Kind.RESET: {"kind": "reset"},
    Kind.LATENCY: {"kind": "latency", "seconds": 0.5, "jitter": 2},
    Kind.PARTIAL_FILL: {"kind": "partial_fill", "fraction": "0.4", "seconds": 1.5},
    Kind.LATE_FILL: {"kind": "late_fill", "seconds": 2},
    Kind.LATE_VISIBILITY: {"kind": "late_visibility", "seconds": 2},
}
"""The faults as the paper broker expects them. Late visibility is shorter than every gateway's margin: a longer one
would defeat any look-up.
"""

ORDER_FAULTS = frozenset({Kind.REPLY_LOST, Kind.HANG_EXECUTED, Kind.HTTP_ERROR_EXECUTED})
"""Faults of calls that place an order. On other calls, `hang` and `http_error` have the same effect."""


REDIS_LOST = (Kind.KILL_REDIS, Kind.EMPTY_REDIS, Kind.OLDER_REDIS)
"""After each of these, every pending order is looked up until its request can no longer be executed (15 s)."""


class Injection(NamedTuple):
    """One thing to break at one broker, and the wait before the next one."""

    kind: Kind
    broker: Broker
    pause_seconds: float
    target: int
    """Selects one of several processes: it is taken modulo their number."""


def injections(
    seed: int, orders: int, brokers: Sequence[Broker], *, kinds: Sequence[Kind] = tuple(Kind), gap_seconds: float = 1.4
) -> list[Injection]:
    """Return every kind equally often, in random order and at random brokers. The gaps are exponential.

    Losses of Redis come in bursts, one of each kind, and the bursts are evenly spread. Within a burst, the next loss
    comes during the recovery from the previous one. Between two bursts there is time for orders that the other faults
    can hit.
    """
    draw = random.Random(f"chaos:{seed}")  # noqa: S311  repeatable, not secret
    times = max(1, min(MOST_OF_A_KIND, orders // ORDERS_PER_INJECTION))
    planned = [kind for kind in kinds if kind not in REDIS_LOST for _ in range(times)]
    draw.shuffle(planned)
    apart = len(planned) / (times + 1)
    for number in range(times, 0, -1):
        burst = [kind for kind in kinds if kind in REDIS_LOST]
        draw.shuffle(burst)
        at = round(number * apart)
        planned[at:at] = burst
    return [
        Injection(
            kind, draw.choice(brokers), min(draw.expovariate(1 / gap_seconds), 5 * gap_seconds), draw.randrange(60)
        )
        for kind in planned
    ]
