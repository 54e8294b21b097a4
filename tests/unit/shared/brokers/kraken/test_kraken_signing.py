"""Tests that each request to Kraken is signed with the key of its account and with a nonce that only grows."""

import asyncio
from typing import Any

import pytest

from shared.brokers.errors import KeyRefused
from shared.brokers.kraken.client import KrakenClient
from shared.brokers.nonces import Nonces
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.domain.accounts.credentials import Credentials, key_hash
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import API_KEY, API_SECRET, CountingNonces
from tests.unit.shared.brokers.kraken.conftest import market_order


async def test_the_signature_is_krakens(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the sample of Kraken's documentation, this secret, nonce and order give this signature."""
    client = KrakenClient(
        {
            "apiKey": "sample",
            "secret": "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==",
        }
    )
    monkeypatch.setattr(client, "nonce", lambda: 1616492376594)
    order = {"ordertype": "limit", "pair": "XBTUSD", "price": "37500", "type": "buy", "volume": "1.25"}
    request = client.sign("AddOrder", ["private"], "POST", order)
    assert request["headers"]["API-Sign"] == (
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    )


async def test_nonces_come_from_the_source_one_by_one(
    server: RecordingServer, account: BrokerAccount, nonces: CountingNonces
) -> None:
    """Each request reserves its own, under a hash that does not reveal the key."""
    server.answers["BalanceEx"] = {}
    for _ in range(3):
        await account.balances()
    sent = [int(request.fields["nonce"]) for request in server.requests]
    assert sent == sorted(set(sent))
    assert nonces.reserved == [(key_hash(API_KEY), 1)] * 3
    assert len(key_hash(API_KEY)) == 64
    assert API_KEY not in key_hash(API_KEY)


async def test_processes_that_share_a_key_send_growing_nonces(
    server: RecordingServer, connection: BrokerConnection
) -> None:
    """Two processes take turns. A block of reserved nonces would be below what the other one has sent."""
    server.answers["BalanceEx"] = {}
    accounts = [connection.account(Credentials(api_key=API_KEY, api_secret=API_SECRET)) for _ in range(2)]
    for turn in range(6):
        await accounts[turn % 2].balances()
    sent = [int(request.fields["nonce"]) for request in server.requests]
    assert sent == sorted(set(sent))


async def test_a_nonce_that_was_not_reserved_cannot_be_taken(nonces: CountingNonces) -> None:
    """Signing cannot wait for the source, so a missing reservation is a defect that raises at once."""
    of_key = Nonces(nonces, API_KEY)
    with pytest.raises(RuntimeError):
        of_key.take()
    await of_key.reserve()
    assert of_key.take() > 0
    with pytest.raises(RuntimeError):
        of_key.take()


async def test_calls_of_one_account_wait_for_each_other(server: RecordingServer, account: BrokerAccount) -> None:
    """Parallel requests may change their order on the network, and Kraken then refuses the lower nonce."""
    in_flight = most = 0

    async def slow() -> dict[str, Any]:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        await asyncio.sleep(0.01)
        in_flight -= 1
        return {}

    server.answers["BalanceEx"] = lambda _: slow()
    await asyncio.gather(*(account.balances() for _ in range(6)))
    assert most == 1
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(api_key="", api_secret=API_SECRET),
        Credentials(api_key="line\nbreak", api_secret=API_SECRET),
        Credentials(api_key=API_KEY, api_secret="not base64!"),
        Credentials(api_key=API_KEY, api_secret=""),
    ],
)
async def test_a_malformed_key_is_refused_before_anything_is_sent(
    server: RecordingServer, connection: BrokerConnection, credentials: Credentials
) -> None:
    """The error says what is wrong without repeating the secret."""
    with pytest.raises(KeyRefused) as raised:
        await connection.account(credentials).place(market_order())
    assert server.requests == []
    secret = credentials.api_secret.get_secret_value()
    assert not secret or secret not in str(raised.value)
