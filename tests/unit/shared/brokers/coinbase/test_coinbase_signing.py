"""Tests that each request to Coinbase carries a token that the key of its account signed for this request alone."""

import asyncio
from base64 import b64encode, urlsafe_b64decode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from pydantic import SecretStr

from shared.brokers.errors import KeyRefused
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.domain.accounts.credentials import Credentials
from shared.domain.symbol import Symbol
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.coinbase.conftest import (
    ACCOUNTS,
    API_KEY,
    API_SECRET,
    BATCH,
    CLIENT_ID,
    FILLS,
    NO_ORDERS,
    ORDERS,
    PRIVATE_KEY,
    SINCE,
    accepted,
    market_order,
)


async def test_a_token_is_signed_with_the_key_for_this_request_alone(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """ES256 signs header and claims. The claim `uri` contains method, host and path, without the query."""
    server.answers[BATCH] = NO_ORDERS
    server.answers[FILLS] = {"fills": [], "cursor": ""}
    await account.look_up(CLIENT_ID, Symbol.parse("BTC/USD"), SINCE)
    first, second = server.requests
    assert first.query
    # ccxt keeps the scheme in the claim if it is not https. Servers for ccxt expect that.
    assert first.claims["uri"] == f"GET {server.url}/api/v3/brokerage/orders/historical/batch"
    assert first.claims["sub"] == API_KEY
    assert (first.claims["iss"], first.claims["aud"]) == ("coinbase-cloud", ["retail_rest_api_proxy"])
    assert first.claims["exp"] - first.claims["nbf"] == 120
    tokens = [request.headers["Authorization"].removeprefix("Bearer ") for request in (first, second)]
    assert tokens[0].split(".")[0] != tokens[1].split(".")[0]
    signed, _, signature = tokens[0].rpartition(".")
    raw = urlsafe_b64decode(signature + "==")
    halves = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    PRIVATE_KEY.public_key().verify(encode_dss_signature(*halves), signed.encode(), ec.ECDSA(SHA256()))


async def test_a_key_of_the_newer_kind_signs_too(server: RecordingServer, connection: BrokerConnection) -> None:
    """The key is Ed25519, as 88 characters of base64. The signature is EdDSA with its own claims."""
    key = Ed25519PrivateKey.generate()
    secret = b64encode(key.private_bytes_raw() + key.public_key().public_bytes_raw()).decode()
    server.answers[ACCOUNTS] = {"accounts": []}
    await connection.account(Credentials(api_key="a-name", api_secret=secret)).balances()
    (sent,) = server.requests
    assert sent.claims["uris"] == [f"GET {server.url}/api/v3/brokerage/accounts"]
    assert (sent.claims["iss"], sent.claims["aud"]) == ("cdp", ["cdp_service"])
    signed, _, signature = sent.headers["Authorization"].removeprefix("Bearer ").rpartition(".")
    key.public_key().verify(urlsafe_b64decode(signature + "=="), signed.encode())


async def test_a_pem_key_may_have_its_line_ends_written_out(
    server: RecordingServer, connection: BrokerConnection
) -> None:
    r"""A file of variables holds the key in one line that contains the text `\n`."""
    server.answers[ACCOUNTS] = {"accounts": []}
    secret = API_SECRET.replace("\n", "\\n")
    assert await connection.account(Credentials(api_key=API_KEY, api_secret=secret)).balances() == {}


@pytest.mark.parametrize(
    "secret",
    [
        "c2VjcmV0LW9mLWEtdGVzdA==",
        "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXgAA",
        "0123456789abcdef",
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n",
    ],
)
async def test_a_key_of_another_broker_is_refused_before_anything_is_sent(
    server: RecordingServer, connection: BrokerConnection, secret: str
) -> None:
    """The error says which form is right and does not repeat the secret."""
    account = connection.account(Credentials(api_key="a-name", api_secret=SecretStr(secret)))
    with pytest.raises(KeyRefused, match="API secret") as raised:
        await account.place(market_order())
    assert secret.split("\n")[1 if "\n" in secret else 0] not in str(raised.value)
    assert server.requests == []


async def test_an_orders_token_expires_no_later_than_the_order(server: RecordingServer, account: BrokerAccount) -> None:
    """A delayed request can therefore not be executed late. The tokens of other requests are valid for two minutes."""
    server.answers[ORDERS] = accepted()
    server.answers[ACCOUNTS] = {"accounts": []}
    order = market_order(valid_for_seconds=7.5)
    await asyncio.gather(account.place(order), account.balances(), account.balances())
    (placed,) = server.sent_to(ORDERS)
    assert order.valid_until.timestamp() - 1 < placed.claims["exp"] <= order.valid_until.timestamp()
    assert [request.claims["exp"] - request.claims["nbf"] for request in server.sent_to(ACCOUNTS)] == [120, 120]
    await account.place(market_order(valid_for_seconds=600))
    claims = server.sent_to(ORDERS)[1].claims
    assert claims["exp"] - claims["nbf"] <= 120
