"""Checks at the start of a process, or before a change, that a Redis server can be used, and says what to do if not.

Three round trips, each small. What goes wrong on the way to the server is put into words by `errors`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis import Redis
from redis.exceptions import NoPermissionError, RedisError

from shared.domain.identity import Broker
from shared.messaging.connection.commands import Denied, denied_to_user
from shared.messaging.connection.connect import open_blocking_redis
from shared.messaging.connection.errors import RedisUnavailable, RedisUnusable, explained, place_of

OLDEST: Final = (6, 2)
"""The oldest Redis that nija's scripts are tested with."""
_CLUSTER: Final = (
    "is a Redis Cluster, which Celery cannot use: use a Redis without cluster mode, "
    "and {BROKER}_REDIS_URL for a server of its own for a broker"
)


def check_redis(setting: str, url: str, brokers: Sequence[Broker] = tuple(Broker)) -> list[str]:
    """Return warnings about the Redis that `setting` names, for the keys of `brokers`.

    Raises RedisUnavailable, RedisUnusable.
    """
    place = place_of(url)
    try:
        redis = open_blocking_redis(url, as_text=True, retries=False)
        with redis:
            return _examine(setting, place, url, redis, brokers)
    except (RedisError, OSError) as error:
        raise explained(error, setting, url) from error
    except (TypeError, ValueError) as error:
        raise RedisUnusable(f"{setting}: an option of the URL cannot be used: {error}") from error


def _examine(setting: str, place: str, url: str, redis: Redis, brokers: Sequence[Broker]) -> list[str]:
    try:
        info: dict[str, Any] = redis.info()
    except NoPermissionError:
        info = {}
    if info.get("loading"):
        raise RedisUnavailable(f"{setting}: Redis at {place} still loads its data")
    for problem in _problems(info):
        raise RedisUnusable(f"{setting}: Redis at {place} {problem}")
    denied = denied_to_user(redis, brokers)
    if denied:
        raise RedisUnusable(f"{setting}: {_what_to_allow(denied, _user_of(url))}")
    if info.get("aof_enabled") == 0:
        lost = "after a crash it lacks what it had acknowledged, and nija compares every order with the ledger"
        return [f"{setting}: Redis at {place} has no append-only file (appendonly yes): {lost} and the broker"]
    return []


def _problems(info: dict[str, Any]) -> Iterator[str]:
    """What makes a Redis with these facts unusable. A fact that the provider hides is taken to be right."""
    if info.get("cluster_enabled") or info.get("redis_mode") == "cluster":
        yield _CLUSTER
    if info.get("redis_mode") == "sentinel":
        yield "is a Redis Sentinel: name the Redis that it watches"
    version = str(info.get("redis_version", ""))
    if version and tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        yield f"has version {version}: nija needs {'.'.join(map(str, OLDEST))} or later"
    if info.get("role") == "slave":
        yield "is a replica, which takes no writes: name the primary"
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield (
            f"has maxmemory-policy {policy}, so it forgets orders when it is full: "
            "set maxmemory-policy to noeviction (CONFIG SET, redis.conf, or the settings of the provider)"
        )


def _what_to_allow(denied: Denied, user: str) -> str:
    rules = [f"+{each}" for each in denied.commands]
    missing = [", ".join(each.upper().replace("|", " ") for each in denied.commands)] if denied.commands else []
    if denied.keys:
        missing.append("the keys " + ", ".join(denied.keys))
        rules += [f"~{each}" for each in denied.keys]
    if denied.channels:
        missing.append("the channels " + ", ".join(denied.channels))
        rules += [f"&{each}" for each in denied.channels]
    return (
        f"the Redis user {user!r} may not use {' and '.join(missing)}: allow {' '.join(rules)}; "
        "docs/deployment.md lists all that nija needs"
    )


def _user_of(url: str) -> str:
    return unquote(urlsplit(url).username or "") or "default"
