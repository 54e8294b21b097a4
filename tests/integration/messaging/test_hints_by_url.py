"""Hints reach the Redis that the setting names, however its URL is written: Celery reads URLs in its own way."""

from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from redis import Redis

from shared.domain.identity import Broker
from shared.messaging.celery_app import HintPublisher
from shared.messaging.keys import queue_name
from tests.support.servers.configured_redis import redis_with, redis_with_tls


def publish(url: str) -> None:
    """Let Celery send three hints."""
    hints = HintPublisher(Broker.KRAKEN, url)
    try:
        hints.publish(3)
    finally:
        hints.close()


def hints_in(url: str) -> int:
    """How many hints are in the queue, as nija reads it."""
    with Redis.from_url(url) as redis:
        return int(redis.llen(queue_name(Broker.KRAKEN)))


def test_sockets_databases_and_options_are_understood(tmp_path: Path) -> None:
    """A socket with the password before the path or as an option; a database as an option; options of redis-py."""
    socket = tmp_path / "redis.sock"
    with redis_with(tmp_path, f"unixsocket {socket}") as url:
        password = url.partition("//:")[2].partition("@")[0]
        server = url.rpartition("/")[0]
        for number, written in enumerate(
            (
                f"unix://:{password}@{socket}?db=1",
                f"unix://{socket}?password={password}&db=2",
                f"{server}?db=3",
                f"{server}/4?health_check_interval=30",
            ),
            start=1,
        ):
            publish(written)
            assert (hints_in(written), hints_in(f"{server}/{number}")) == (3, 3)


@pytest.mark.long
def test_a_certificate_is_checked_by_celery_too(tmp_path: Path) -> None:
    """By itself it would accept any: one that nothing vouches for is refused, one of the named CA is accepted."""
    with redis_with_tls(tmp_path) as (plain, secured, certificate):
        server = secured.removesuffix("/0")
        # A database each: Celery keeps connections, and finds them without regard to the options for TLS.
        with pytest.raises(OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
            publish(f"{server}/1")
        publish(f"{server}/2?ssl_ca_certs={certificate}")
        publish(f"{server}/3?ssl_cert_reqs=none")
        assert [hints_in(f"{plain.removesuffix('/0')}/{number}") for number in (1, 2, 3)] == [0, 3, 3]
