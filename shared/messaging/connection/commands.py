"""Lists the Redis commands that nija and Celery use, and finds out which of them a user may not use.

docs/deployment.md lists the same commands. The question runs none of them: Redis checks a user's rights before it
queues a command of a transaction, and the transaction is discarded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from redis import Redis
from redis.exceptions import NoPermissionError, ResponseError

from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys, queue_name

_ON_KEYS: Final = {
    "brpop": "KEY 1",
    "del": "KEY",
    "exists": "KEY",
    "get": "KEY",
    "hdel": "KEY f",
    "hexists": "KEY f",
    "hget": "KEY f",
    "hgetall": "KEY",
    "hkeys": "KEY",
    "hlen": "KEY",
    "hmget": "KEY f",
    "hset": "KEY f v",
    "hsetnx": "KEY f v",
    "hvals": "KEY",
    "incrby": "KEY 1",
    "lindex": "KEY 0",
    "llen": "KEY",
    "lpop": "KEY",
    "lpush": "KEY v",
    "lrange": "KEY 0 0",
    "mget": "KEY",
    "pexpire": "KEY 1",
    "pttl": "KEY",
    "rename": "KEY KEY",
    "rpop": "KEY",
    "rpush": "KEY v",
    "sadd": "KEY v",
    "set": "KEY v",
    "smembers": "KEY",
    "srem": "KEY v",
    "watch": "KEY",
    "xack": "KEY g 0-1",
    "xadd": "KEY * f v",
    "xautoclaim": "KEY g c 0 0",
    "xclaim": "KEY g c 0 0-1",
    "xgroup|create": "KEY g 0",
    "xinfo|groups": "KEY",
    "xinfo|stream": "KEY",
    "xlen": "KEY",
    "xpending": "KEY g",
    "xrange": "KEY - +",
    "xread": "STREAMS KEY 0",
    "xreadgroup": "GROUP g c STREAMS KEY >",
    "xtrim": "KEY MAXLEN 0",
    "zadd": "KEY 0 m",
    "zcount": "KEY 0 0",
    "zrange": "KEY 0 0",
    "zrangebyscore": "KEY 0 0",
    "zrem": "KEY m",
    "zremrangebyscore": "KEY 0 0",
    "zscore": "KEY m",
}
_WITHOUT_KEYS: Final = {
    "client|kill": "ID 0",
    "client|list": "",
    "client|setname": "nija",
    "discard": "",
    "eval": "return 0",
    "evalsha": "sha 0",
    "exec": "",
    "info": "",
    "multi": "",
    "ping": "",
    "psubscribe": "CHANNEL",
    "publish": "CHANNEL v",
    "punsubscribe": "CHANNEL",
    "scan": "0",
    "script|exists": "sha",
    "script|load": "return",
    "select": "0",
    "time": "",
    "unwatch": "",
}
NEEDED_COMMANDS: Final = tuple(sorted(_ON_KEYS | _WITHOUT_KEYS))
"""In the spelling of ACL rules: `+get`, `+client|list`."""
KEY_PATTERNS: Final = ("nija:*", "broker.*", "_kombu.*", "unacked*", "*.celery.pidbox")
"""Celery's own keys are not below `nija:`."""
CHANNEL_PATTERNS: Final = ("*",)
"""Celery's remote control and events. It subscribes to patterns, and a rule allows a pattern only as it is written."""
_CELERY_KEYS: Final = {
    "_kombu.*": ("_kombu.binding.celery.pidbox",),
    "unacked*": ("unacked", "unacked_index", "unacked_mutex"),
    "*.celery.pidbox": ("nija.reply.celery.pidbox",),
}
_CHANNEL: Final = "/0.celery.pidbox"


@dataclass(frozen=True, slots=True)
class Denied:
    """What the user of a connection may not do."""

    commands: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.commands or self.keys or self.channels)


class _Question(NamedTuple):
    """A command with its words, and the pattern of the key among them."""

    command: str
    words: tuple[str, ...]
    pattern: str = KEY_PATTERNS[0]


def denied_to_user(redis: Redis, brokers: Sequence[Broker]) -> Denied:
    """Ask which of the commands, and which keys of these brokers, the user may not use. Raises RedisError.

    Without the right to use transactions only that is reported.
    """
    # No key of this name is ever written.
    key = BrokerKeys(brokers[0]).prefix + "start-check"
    connection: Any = redis.connection_pool.get_connection()
    try:
        found = _ask(connection, _of_transactions(key))
        if found:
            return found
        # Never without it: outside a transaction the commands would be run.
        connection.send_command("MULTI")
        connection.read_response()
        return _ask(connection, _of_the_rest(key, brokers))
    finally:
        # The transaction ends with the connection.
        connection.disconnect()
        redis.connection_pool.release(connection)


def _of_transactions(key: str) -> list[_Question]:
    """What Redis does not queue: empty transactions, and a watch that nothing follows, change nothing."""
    names = ("multi", "exec", "multi", "discard", "watch", "unwatch")
    return [_Question(name, _words(name, key)) for name in names]


def _of_the_rest(key: str, brokers: Sequence[Broker]) -> list[_Question]:
    names = [name for name in NEEDED_COMMANDS if name not in {"multi", "exec", "discard", "watch"}]
    samples = {
        "nija:*": [BrokerKeys(broker).epoch for broker in brokers],
        "broker.*": [queue_name(broker) for broker in brokers],
        **_CELERY_KEYS,
    }
    return [
        *(_Question(name, _words(name, key)) for name in names),
        *(_Question("exists", ("EXISTS", each), pattern) for pattern, keys in samples.items() for each in keys),
    ]


def _words(name: str, key: str) -> tuple[str, ...]:
    sample = {"KEY": key, "CHANNEL": _CHANNEL}
    arguments = (_ON_KEYS | _WITHOUT_KEYS)[name]
    return (*name.upper().split("|"), *(sample.get(word, word) for word in arguments.split()))


def _ask(connection: Any, questions: Sequence[_Question]) -> Denied:
    """Send all questions in one piece, and sort the replies."""
    connection.send_packed_command(connection.pack_commands([question.words for question in questions]))
    commands: set[str] = set()
    keys: set[str] = set()
    channels: set[str] = set()
    for question in questions:
        try:
            connection.read_response()
        except NoPermissionError as error:
            text = str(error).lower()
            if "command" in text:
                commands.add(question.command)
            elif "channel" in text:
                channels.update(CHANNEL_PATTERNS)
            else:
                keys.add(question.pattern)
        except ResponseError as error:
            # A provider that has no ACL renames what it does not want.
            if str(error).lower().startswith("unknown command"):
                commands.add(question.command)
    return Denied(tuple(sorted(commands)), tuple(sorted(keys)), tuple(sorted(channels)))
