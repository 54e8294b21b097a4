"""Tests that clients of Coinbase accounts are cheap, and share nothing that matters."""

import gc
import tracemalloc
from time import process_time
from typing import Any

from shared.brokers.port.connection import BrokerConnection
from shared.domain.accounts.credentials import Credentials
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.coinbase.conftest import ACCOUNTS, API_SECRET

CLIENTS = 1_000
MOST_KIB_EACH = 60
MOST_SECONDS_EACH = 0.00005


def credentials(number: int) -> Credentials:
    return Credentials(api_key=f"organizations/o/apiKeys/{number}", api_secret=API_SECRET)


async def test_two_clients_sign_with_their_own_keys(server: RecordingServer, connection: BrokerConnection) -> None:
    """Used in turn, each token names its own account's key."""
    server.answers[ACCOUNTS] = {"accounts": []}
    accounts = [connection.account(credentials(number)) for number in range(2)]
    for account in [*accounts, *accounts]:
        await account.balances()
    names = [request.claims["sub"].rpartition("/")[2] for request in server.requests]
    assert names == ["0", "1", "0", "1"]
    clients: list[Any] = [account._client for account in accounts]  # type: ignore[attr-defined]
    assert clients[0].options is not clients[1].options
    assert clients[0].headers is not clients[1].headers
    assert clients[0].signing_key is not clients[1].signing_key
    assert clients[0].markets is clients[1].markets


async def test_a_client_costs_little_memory_and_time(server: RecordingServer, connection: BrokerConnection) -> None:
    """At most 60 KiB each at a thousand accounts, after a request too, and 0.05 ms of CPU to make."""
    server.answers[ACCOUNTS] = {"accounts": []}
    keys = [credentials(number) for number in range(CLIENTS)]
    gc.collect()
    gc.disable()
    try:
        rounds = []
        for _ in range(3):
            started = process_time()
            accounts = [connection.account(key) for key in keys]
            rounds.append(process_time() - started)
    finally:
        gc.enable()
    assert min(rounds) / CLIENTS <= MOST_SECONDS_EACH
    del accounts
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        accounts = [connection.account(key) for key in keys]
        for account in accounts[:50]:
            await account.balances()
        server.requests.clear()
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert used / CLIENTS / 1024 <= MOST_KIB_EACH
