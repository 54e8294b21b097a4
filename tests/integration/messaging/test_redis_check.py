"""Tests which Redis servers a process refuses at its start, and with which words, on a real server for each case."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from redis import Redis

from shared.domain.identity import Broker
from shared.messaging.connection import server_check
from shared.messaging.connection.commands import CHANNEL_PATTERNS, KEY_PATTERNS, NEEDED_COMMANDS
from shared.messaging.connection.errors import RedisUnavailable, RedisUnusable
from shared.messaging.connection.server_check import check_redis
from tests.support.servers.configured_redis import add_user, redis_with, redis_with_tls

KEYS = tuple(f"~{pattern}" for pattern in KEY_PATTERNS)
CHANNELS = tuple(f"&{pattern}" for pattern in CHANNEL_PATTERNS)
HIDDEN = "hidden-word"


def commands(*missing: str) -> list[str]:
    """The rules for all commands but the missing ones."""
    return ["-@all", *(f"+{command}" for command in NEEDED_COMMANDS if command not in missing)]


def refusal(url: str) -> str:
    """The words with which this Redis is refused."""
    with pytest.raises(RedisUnusable) as refused:
        check_redis("KRAKEN_REDIS_URL", url, [Broker.KRAKEN])
    text = str(refused.value)
    assert text.startswith("KRAKEN_REDIS_URL: ")
    assert "\n" not in text
    assert HIDDEN not in text
    return text


def test_the_redis_that_nija_brings_along_needs_no_word(fresh_redis_url: str) -> None:
    """Nothing is refused, nothing is warned of, and nothing is left behind in it."""
    assert check_redis("REDIS_URL", fresh_redis_url) == []
    with Redis.from_url(fresh_redis_url) as redis:
        assert redis.dbsize() == 0


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("maxmemory-policy allkeys-lru", "maxmemory-policy allkeys-lru, so it forgets orders when it is full"),
        ("maxmemory-policy volatile-ttl", "set maxmemory-policy to noeviction"),
        ("replicaof 127.0.0.1 1", "is a replica, which takes no writes: name the primary"),
    ],
)
def test_a_server_that_is_wrongly_set_up_is_refused(line: str, named: str, tmp_path: Path) -> None:
    """The text says what it is and what to do."""
    with redis_with(tmp_path, line) as url:
        assert named in refusal(url)


def test_a_cluster_is_refused(tmp_path: Path) -> None:
    """Also one of a single node: Celery's keys are in many slots. The text says what to do for more capacity."""
    with redis_with(tmp_path, "cluster-enabled yes", port=port_for_a_cluster()) as url:
        found = refusal(url)
    assert "is a Redis Cluster, which Celery cannot use: use a Redis without cluster mode" in found
    assert "{BROKER}_REDIS_URL for a server of its own for a broker" in found


def port_for_a_cluster() -> int:
    """A free port; the one that is 10,000 above it, which a node listens on too, is never given to a client."""
    for port in range(12_000, 22_000):
        own, bus = ("127.0.0.1", port), ("127.0.0.1", port + 10_000)
        with suppress(OSError), socket.create_server(own), socket.create_server(bus):
            return port
    raise AssertionError("no free port")


def test_without_an_append_only_file_there_is_a_warning(tmp_path: Path) -> None:
    """Many providers sell no other Redis, and nija loses no order with it: it is allowed."""
    with redis_with(tmp_path, "appendonly no") as url:
        [warning] = check_redis("REDIS_URL", url)
    assert "REDIS_URL: Redis at 127.0.0.1:" in warning
    assert "no append-only file (appendonly yes)" in warning


def test_a_redis_that_is_too_old_is_refused(fresh_redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real server, and a bound that is moved above it."""
    monkeypatch.setattr(server_check, "OLDEST", (99, 1))
    assert "nija needs 99.1 or later" in refusal(fresh_redis_url)


@pytest.mark.parametrize("version", ["6.2", "7"])
def test_a_user_needs_exactly_the_documented_rules(version: str, tmp_path: Path) -> None:
    """With all of them there is no word; without one of them, the text names that one and the rule for it."""
    with redis_with(tmp_path, version=version) as url:
        assert check_redis("REDIS_URL", add_user(url, "enough", *commands(), *KEYS, "resetchannels", *CHANNELS)) == []
        rules = commands("evalsha", "script|load", "time")
        found = refusal(add_user(url, "less", *rules, *KEYS, "resetchannels", *CHANNELS))
        assert (
            "the Redis user 'less' may not use EVALSHA, SCRIPT LOAD, TIME: allow +evalsha +script|load +time" in found
        )
        found = refusal(add_user(url, "keys", *commands(), "~nija:*", "resetchannels", *CHANNELS))
        assert "may not use the keys *.celery.pidbox, _kombu.*, broker.*, unacked*: allow ~*.celery.pidbox" in found
        found = refusal(add_user(url, "channels", *commands(), *KEYS, "resetchannels"))
        assert "may not use the channels *: allow &*" in found


def test_nothing_is_run_for_a_user_without_transactions(tmp_path: Path) -> None:
    """The commands are asked for inside a transaction: outside it they would change keys."""
    with redis_with(tmp_path) as url:
        assert "may not use MULTI: allow +multi" in refusal(add_user(url, "plain", "~*", "&*", "+@all", "-multi"))
        with Redis.from_url(url) as admin:
            assert admin.dbsize() == 0
            assert not {"cmdstat_set", "cmdstat_del", "cmdstat_xadd"} & admin.info("commandstats").keys()


def test_a_user_without_dangerous_commands_is_refused_by_name(tmp_path: Path) -> None:
    """`-@dangerous` takes INFO and CLIENT LIST away, which nothing else can replace."""
    with redis_with(tmp_path, version="7") as url:
        found = refusal(add_user(url, "careful", "~*", "&*", "+@all", "-@dangerous"))
    assert "may not use CLIENT KILL, CLIENT LIST, INFO: allow +client|kill +client|list +info" in found


def test_a_command_that_the_provider_renamed_is_named(tmp_path: Path) -> None:
    """Without an ACL, too: such a server calls it unknown."""
    with redis_with(tmp_path, 'rename-command SCAN ""') as url:
        assert "may not use SCAN: allow +scan" in refusal(url)


@pytest.mark.parametrize(
    ("login", "named"),
    [
        ("", "asks for a password: write it into the URL"),
        (f":{HIDDEN}@", "refuses the user name or the password"),
        (f"nobody:{HIDDEN}@", "special characters in them are percent-encoded"),
    ],
)
def test_a_wrong_password_is_refused_and_not_shown(redis_url: str, login: str, named: str) -> None:
    """Also a wrong user, and none at all."""
    assert named in refusal(f"redis://{login}{redis_url.rpartition('@')[2]}")


def test_a_database_that_is_not_there_is_refused(redis_url: str) -> None:
    """The text names the end of the URL."""
    assert "end it with /0" in refusal(f"{redis_url.rpartition('/')[0]}/999")


def test_an_unknown_host_is_refused() -> None:
    """A name that cannot be resolved is a mistake in the setting."""
    found = refusal(f"redis://:{HIDDEN}@redis.invalid:6379/0")
    assert "the host of redis.invalid:6379 is not known" in found


def test_an_unknown_option_of_the_url_is_refused(redis_url: str) -> None:
    """As the library names it."""
    assert "an option of the URL cannot be used" in refusal(f"{redis_url}?no_such_option=1")


def test_a_server_that_does_not_answer_yet_is_waited_for(redis_url: str, tmp_path: Path) -> None:
    """Nothing listens, and a socket that is not there yet."""
    for url, named in (
        (f"redis://:{HIDDEN}@127.0.0.1:1/0", "REDIS_URL: no Redis listens at 127.0.0.1:1"),
        (f"unix://{tmp_path}/redis.sock", f"REDIS_URL: no Redis listens at {tmp_path}/redis.sock"),
    ):
        with pytest.raises(RedisUnavailable) as away:
            check_redis("REDIS_URL", url)
        assert str(away.value) == named


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """The port of something that answers everything with these bytes, and closes the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.recv(4096)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def test_another_kind_of_server_is_refused() -> None:
    """A web server at the port, as with a wrong number."""
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert "does not answer like a Redis: correct the host and the port" in refusal(f"redis://127.0.0.1:{port}/0")


def test_a_connection_that_is_closed_without_an_answer_is_waited_for() -> None:
    """A proxy in front of a Redis that is not up yet does that."""
    with answering(b"") as port, pytest.raises(RedisUnavailable, match="does not answer as a Redis does"):
        check_redis("REDIS_URL", f"redis://127.0.0.1:{port}/0")


def test_tls_problems_are_named(tmp_path: Path) -> None:
    """TLS where there is none, none where there is TLS, and a certificate that nothing vouches for."""
    with redis_with_tls(tmp_path) as (plain, secured, certificate):
        assert "write redis://, or the port for TLS" in refusal(f"rediss://:{HIDDEN}@{plain.rpartition('@')[2]}")
        at = secured.rpartition("@")[2]
        assert "write rediss:// instead of redis://" in refusal(f"redis://:{HIDDEN}@{at}")
        found = refusal(secured)
        assert "the certificate of localhost:" in found
        assert "?ssl_ca_certs=FILE" in found
        assert check_redis("REDIS_URL", f"{secured}?ssl_ca_certs={certificate}") == []
