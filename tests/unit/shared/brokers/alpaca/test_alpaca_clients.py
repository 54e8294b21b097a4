"""Tests that alpaca-py's clients are cheap copies for each account, and share nothing that belongs to one account."""

import gc
import tracemalloc
from typing import Any

import pytest
from alpaca.common.enums import BaseURL
from pydantic import SecretStr

from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import CREDENTIALS
from tests.unit.shared.brokers.conftest import CountingNonces

MOST_BYTES_PER_CLIENT = 60 * 1024


def credentials(number: int, **more: Any) -> Credentials:
    return Credentials(api_key=SecretStr(f"key-{number}"), api_secret=SecretStr(f"secret-{number}"), **more)


async def test_clients_share_connections_and_nothing_that_differs(connection: BrokerConnection) -> None:
    """The transport on purpose; of mutable state only what alpaca-py keeps as a constant."""
    first, second = (vars(connection.account(credentials(number))._client) for number in (1, 2))
    same = {name for name, value in first.items() if value is second[name] and isinstance(value, dict | list | set)}
    assert same <= {"_retry_codes"}
    assert first["_session"] is second["_session"]
    assert (first["_api_key"], second["_api_key"]) == ("key-1", "key-2")
    assert first["_retry"] == 0


async def test_each_account_uses_its_own_key(server: RecordingServer, connection: BrokerConnection) -> None:
    """Also in turn and at the same connection. A reading of the balances reads the cash twice."""
    server.answers |= {"GET /v2/account": {"cash": "1"}, "GET /v2/positions": []}
    accounts = [connection.account(credentials(number)) for number in (1, 2)]
    server.requests.clear()
    for account in (*accounts, *accounts):
        await account.balances()
    sent = server.sent_to("GET /v2/account")
    keys = [(request.headers["APCA-API-KEY-ID"], request.headers["APCA-API-SECRET-KEY"]) for request in sent]
    assert keys == [("key-1", "secret-1"), ("key-1", "secret-1"), ("key-2", "secret-2"), ("key-2", "secret-2")] * 2


async def test_a_thousand_accounts_are_cheap(connection: BrokerConnection) -> None:
    """Far below 60 KiB each."""
    connection.account(credentials(0))
    gc.collect()
    tracemalloc.start()
    accounts = [connection.account(credentials(number)) for number in range(1_000)]
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(accounts) == 1_000
    assert used / len(accounts) < MOST_BYTES_PER_CLIENT


@pytest.mark.parametrize(("paper", "expected"), [(True, BaseURL.TRADING_PAPER), (False, BaseURL.TRADING_LIVE)])
async def test_paper_keys_go_to_the_paper_host(
    server: RecordingServer, nonces: CountingNonces, paper: bool, expected: BaseURL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When there is no base URL; with one, everything goes there."""
    connection: Any = connect(Broker.ALPACA, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await connection.open()
    assert connection.account(credentials(1, paper=paper))._client._base_url == server.url
    monkeypatch.setattr(connection, "_base_url", None)
    assert connection.account(credentials(1, paper=paper))._client._base_url == expected.value
    await connection.close()


async def test_the_environment_changes_nothing(
    server: RecordingServer, nonces: CountingNonces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of the environment would see the keys; only the setting counts, and then it sees every request."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    direct = connect(Broker.ALPACA, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await direct.open()
    await direct.close()
    server.requests.clear()
    proxied = connect(
        Broker.ALPACA, base_url="http://alpaca.example", nonces=nonces, proxy=server.url, request_timeout_seconds=2
    )
    server.answers |= {"GET /v2/account": {"cash": "5"}, "GET /v2/positions": []}
    await proxied.open()
    assert (await proxied.account(CREDENTIALS).balances())["USD"].total == 5
    assert {request.headers["Host"] for request in server.requests} == {"alpaca.example"}
    await proxied.close()


async def test_closing_twice_does_nothing(server: RecordingServer, nonces: CountingNonces) -> None:
    """Nor does opening twice load twice."""
    connection = connect(Broker.ALPACA, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await connection.open()
    await connection.open()
    assert len(server.sent_to("GET /v2/assets")) == 1
    await connection.close()
    await connection.close()
