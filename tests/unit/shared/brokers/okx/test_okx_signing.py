"""Tests that each request to OKX is signed with the key of its account, and that it goes to the configured address."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from shared.brokers.errors import KeyRefused
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import CountingNonces
from tests.unit.shared.brokers.okx.conftest import (
    API_KEY,
    API_SECRET,
    CREDENTIALS,
    ORDER_ID,
    PASSPHRASE,
    PLACE,
    market_order,
    placed,
)


async def test_requests_are_signed_as_okx_documents(server: RecordingServer, account: BrokerAccount) -> None:
    """The signature is HMAC-SHA256 in base64 over timestamp, method, path with query, and body."""
    server.answers |= {PLACE: placed(), "trade/fills-history": []}
    await account.place(market_order())
    await account.fills_since(datetime(2021, 1, 1, tzinfo=UTC))
    post, get = server.requests
    query = "&".join(f"{name}={value}" for name, value in get.query.items())
    for sent, target in ((post, post.path), (get, f"{get.path}?{query}")):
        prehash = f"{sent.headers['OK-ACCESS-TIMESTAMP']}{sent.method}{target}{sent.body}"
        digest = hmac.new(API_SECRET.encode(), prehash.encode(), hashlib.sha256).digest()
        assert sent.headers["OK-ACCESS-SIGN"] == base64.b64encode(digest).decode()
        assert sent.headers["OK-ACCESS-KEY"] == API_KEY
        assert sent.headers["OK-ACCESS-PASSPHRASE"] == PASSPHRASE


@pytest.mark.parametrize("paper", [False, True])
async def test_keys_of_okxs_own_simulation_say_so(
    server: RecordingServer, connection: BrokerConnection, paper: bool
) -> None:
    """The requests of such an account carry a header; the requests of other accounts do not."""
    server.answers[PLACE] = placed()
    simulated = connection.account(CREDENTIALS.model_copy(update={"paper": paper}))
    await simulated.place(market_order())
    await connection.account(CREDENTIALS).place(market_order())
    shown = [request.headers.get("x-simulated-trading") for request in server.requests]
    assert shown == ["1" if paper else None, None]


@pytest.mark.parametrize(
    "changes",
    [
        {"api_key": ""},
        {"api_key": "line\nbreak"},
        {"api_secret": ""},
        {"passphrase": None},
        {"passphrase": ""},
        {"passphrase": "line\nbreak"},
    ],
)
async def test_a_malformed_key_is_refused_before_anything_is_sent(
    server: RecordingServer, connection: BrokerConnection, changes: dict[str, str | None]
) -> None:
    """Key, secret and passphrase are checked, and none of them is repeated."""
    secrets = {name: None if text is None else SecretStr(text) for name, text in changes.items()}
    credentials = Credentials(**{**dict(CREDENTIALS), **secrets})
    with pytest.raises(KeyRefused) as raised:
        await connection.account(credentials).place(market_order())
    assert server.requests == []
    assert "line" not in str(raised.value)


async def test_all_traffic_goes_to_the_base_url_also_below_a_path(
    server: RecordingServer, nonces: CountingNonces
) -> None:
    """This covers public, private and market data. The signature is over the API's own path."""
    prefixed = {f"/proxy/api/v5/{name}": answer for name, answer in (("public/instruments", None), (PLACE, placed()))}
    server.answers |= {name: answer for name, answer in prefixed.items() if answer is not None}
    server.answers["/proxy/api/v5/public/instruments"] = server.answers["public/instruments"]
    connection = connect(Broker.OKX, base_url=server.url + "/proxy/", nonces=nonces, request_timeout_seconds=2)
    await connection.open()
    assert await connection.account(CREDENTIALS).place(market_order()) == ORDER_ID
    sent = server.requests[-1]
    prehash = f"{sent.headers['OK-ACCESS-TIMESTAMP']}POST/api/v5/{PLACE}{sent.body}"
    digest = hmac.new(API_SECRET.encode(), prehash.encode(), hashlib.sha256).digest()
    assert sent.headers["OK-ACCESS-SIGN"] == base64.b64encode(digest).decode()
    assert {request.path.split("/api/")[0] for request in server.requests} == {"/proxy"}
    await connection.close()
