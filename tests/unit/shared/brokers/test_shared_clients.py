"""Tests that clients of accounts are cheap and share nothing that matters, and that their session is closed once."""

import gc
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import process_time
from typing import Any

import pytest

from shared.brokers.ccxt.errors import shortened
from shared.brokers.errors import NotSent
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import MarketOrder
from shared.brokers.registry import InvalidBrokerUrl, connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import CountingNonces

# Read-only after the markets are loaded, or without state of their own.
_SHARED_ON_PURPOSE = frozenset(
    {
        "session", "asyncio_loop", "ssl_context", "logger",
        "markets", "markets_by_id", "symbols", "ids", "currencies", "currencies_by_id", "baseCurrencies",
        "quoteCurrencies", "codes", "markets_loading",
        "urls", "api", "has", "fees", "limits", "exceptions", "timeframes", "commonCurrencies", "requiredCredentials",
        "features", "httpExceptions", "tokenBucket", "precision", "accounts", "accountsById", "networkAliases",
        "ecdsaCurves", "ecdsaPrehashedAlgorithms",
    }
)  # fmt: skip


def credentials(number: int) -> Credentials:
    return Credentials(api_key=f"key-{number}", api_secret="c2VjcmV0LW9mLWEtdGVzdA==")


async def test_two_copies_share_no_state_that_matters(connection: BrokerConnection) -> None:
    """Every mutable attribute is either a copy's own or known to be read only."""
    first: Any = connection.account(credentials(1))
    second: Any = connection.account(credentials(2))
    shared = {
        name
        for name, value in vars(first._client).items()
        if isinstance(value, dict | list | set) and value is vars(second._client).get(name)
    }
    # ccxt gives each attribute with an underscore a twin in camel case.
    unexpected = {name for name in shared if name not in _SHARED_ON_PURPOSE}
    describing = {
        name for name in unexpected if vars(first._client)[name] == type(first._client)().describe().get(name)
    }
    assert unexpected - describing == set()
    assert first._client.throttler is not second._client.throttler
    assert first._client.options is not second._client.options


async def test_accounts_sign_with_their_own_keys_and_nonces(
    server: RecordingServer, connection: BrokerConnection, nonces: CountingNonces
) -> None:
    """Used in turn, each request carries its own account's key, and the nonces of each key grow."""
    server.answers["BalanceEx"] = {}
    accounts = [connection.account(credentials(number)) for number in range(3)]
    for account in [*accounts, *accounts]:
        await account.balances()
    assert [request.headers["API-Key"] for request in server.requests] == ["key-0", "key-1", "key-2"] * 2
    assert len({key for key, _ in nonces.reserved}) == 3
    first_nonces, second_nonces = server.requests[:3], server.requests[3:]
    for first, second in zip(first_nonces, second_nonces, strict=True):
        assert int(second.fields["nonce"]) > int(first.fields["nonce"])


async def test_a_client_is_cheap_to_make(connection: BrokerConnection) -> None:
    """At most 0.05 ms of CPU each; ccxt's own constructor takes 200 times as long."""
    keys = [credentials(number) for number in range(500)]
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
    assert len(accounts) == 500
    assert min(rounds) / 500 <= 0.00005


async def test_closing_twice_and_dropping_clients_warns_of_nothing(
    server: RecordingServer, nonces: CountingNonces, caplog: pytest.LogCaptureFixture
) -> None:
    """ccxt warns about each client that is dropped; ours own no session. Warnings fail this suite."""
    server.answers["AddOrder"] = {"txid": ["O"]}
    connection = connect(Broker.KRAKEN, base_url=server.url, nonces=nonces)
    await connection.open()
    await connection.open()
    account = connection.account(credentials(1))
    order = MarketOrder(
        client_order_id=CopyOrderId("a" * 32),
        symbol="BTC/USD",
        side=Side.BUY,
        quantity=Decimal(1),
        valid_until=datetime.now(UTC) + timedelta(seconds=10),
    )
    await account.place(order)
    del account
    gc.collect()
    other = connection.account(credentials(2))
    await other.place(order)
    await connection.close()
    await connection.close()
    with pytest.raises(NotSent):
        await other.place(order)
    del connection, other
    gc.collect()
    assert caplog.text == ""


@pytest.mark.parametrize("url", ["127.0.0.1:8123", "ftp://host", "http://", "http://a b", "https://host/?q=1"])
def test_a_base_url_that_is_no_address_is_refused_by_name(nonces: CountingNonces, url: str) -> None:
    """The error names the setting and shows what would be right."""
    with pytest.raises(InvalidBrokerUrl, match=r"KRAKEN_BASE_URL.*should be"):
        connect(Broker.KRAKEN, base_url=url, nonces=nonces)


def test_a_password_in_an_address_is_not_repeated(nonces: CountingNonces) -> None:
    """The error shows what stands behind the @ only."""
    with pytest.raises(InvalidBrokerUrl) as raised:
        connect(Broker.KRAKEN, base_url=None, nonces=nonces, proxy="socks5://user:hunter2@proxy:1080")
    assert "hunter2" not in str(raised.value)
    assert "proxy:1080" in str(raised.value)


async def test_a_proxy_carries_the_requests(server: RecordingServer, nonces: CountingNonces) -> None:
    """The request goes to the proxy, with the broker's whole address in it."""
    connection = connect(
        Broker.KRAKEN, base_url="http://broker.invalid", nonces=nonces, proxy=server.url, request_timeout_seconds=2
    )
    await connection.open()
    assert "BTC/USD" in connection.instruments()
    assert {request.headers["Host"] for request in server.requests} == {"broker.invalid"}
    await connection.close()


def test_error_texts_are_one_short_line() -> None:
    """Whatever a server sends."""
    assert shortened("a\nb\x00c\t d") == "a b c d"
    assert len(shortened("x" * 10_000)) == 300
