"""Tests that connections to Redis are opened in one place, with a limit on every wait."""

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from shared.messaging.connection.connect import open_blocking_redis, open_redis

TOP = Path(__file__).parents[4]


@pytest.fixture
def silent_url() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


def test_no_other_module_opens_a_connection() -> None:
    """A client that is opened somewhere else would have other limits, or none."""
    sources = [path for folder in ("services", "shared", "benchmarks") for path in (TOP / folder).rglob("*.py")]
    opening = re.compile(r"\bfrom_url\(|\bRedis\(")
    found = {path.relative_to(TOP).as_posix() for path in sources if opening.search(path.read_text(encoding="utf-8"))}
    assert found == {"shared/messaging/connection/connect.py"}


async def test_a_stage_does_not_wait_longer_than_the_limit_for_an_answer(silent_url: str) -> None:
    """The wait ends with an error of redis-py, after the retries that redis-py makes."""
    async with asyncio.timeout(60), open_redis(silent_url, answer_seconds=0.1) as redis:
        with pytest.raises((RedisError, OSError)):
            await redis.ping()


def test_a_command_without_retries_asks_once() -> None:
    """A check at the start reports the first error. A second attempt would open a second connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        with open_blocking_redis(url, answer_seconds=0.3, retries=False) as redis, pytest.raises(RedisError):
            redis.ping()
        server.settimeout(0.2)
        server.accept()[0].close()
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize(("as_text", "reply"), [(False, b"1"), (True, "1")])
def test_replies_are_bytes_or_text(fresh_redis_url: str, as_text: bool, reply: bytes | str) -> None:
    """As the caller needs them."""
    with open_blocking_redis(fresh_redis_url, as_text=as_text) as redis:
        redis.set("key", 1)
        assert redis.get("key") == reply
