"""Tests that OKX clients build the same orders as ccxt's own client, share no state and are cheap."""

import gc
import tracemalloc
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import process_time
from typing import Any

import pytest
from pydantic import SecretStr

from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import MarketOrder
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import CopyOrderId
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.okx.conftest import CREDENTIALS, placed
from tests.unit.shared.brokers.test_shared_clients import _SHARED_ON_PURPOSE

CLIENT_ID = "0123456789abcdef0123456789abcdef"


def _order(side: Side, quantity: str, valid_until: datetime) -> MarketOrder:
    return MarketOrder(
        client_order_id=CopyOrderId(CLIENT_ID),
        symbol="BTC/USDT",
        side=side,
        quantity=Decimal(quantity),
        valid_until=valid_until,
    )


def keys(number: int) -> Credentials:
    return CREDENTIALS.model_copy(update={"api_key": SecretStr(f"key-{number}")})


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("quantity", ["0.1", "0.00001", "12345.00000001"])
async def test_the_body_is_ccxts_own(
    server: RecordingServer, connection: BrokerConnection, side: Side, quantity: str
) -> None:
    """The body is what ccxt builds for this order, with `banAmend` set. nija's shorter way leaves nothing out."""
    account: Any = connection.account(CREDENTIALS)
    server.answers["trade/batch-orders"] = placed()
    valid_until = datetime.now(UTC) + timedelta(seconds=5)
    await account.place(_order(side, quantity, valid_until))
    parameters = {"clientOrderId": CLIENT_ID, "banAmend": True}
    built = account._client.create_order_request("BTC/USDT", "market", side.value, quantity, None, parameters)
    assert server.requests[0].document == [built]


async def test_two_copies_share_no_state_that_matters(connection: BrokerConnection) -> None:
    """Each mutable attribute belongs to one copy or is known to be only read."""
    clients: list[Any] = []
    for number in range(2):
        key = CREDENTIALS.model_copy(update={"api_key": SecretStr(f"key-{number}")})
        account: Any = connection.account(key)
        clients.append(account._client)
    first, second = clients
    shared = {
        name
        for name, value in vars(first).items()
        if isinstance(value, dict | list | set) and value is vars(second).get(name) and name not in _SHARED_ON_PURPOSE
    }
    described = type(first)().describe()
    assert {name for name in shared if vars(first)[name] != described.get(name)} == set()
    assert (first.apiKey, second.apiKey) == ("key-0", "key-1")
    for name in ("options", "headers", "throttler"):
        assert getattr(first, name) is not getattr(second, name)


async def test_the_brokers_tag_of_ccxt_is_not_sent(server: RecordingServer, connection: BrokerConnection) -> None:
    """ccxt adds its own tag and id to an order without an id. nija's orders have an id."""
    server.answers["trade/batch-orders"] = placed()
    valid_until = datetime.now(UTC) + timedelta(seconds=5)
    order = _order(Side.BUY, "0.1", valid_until)
    await connection.account(CREDENTIALS).place(order)
    (entry,) = server.requests[0].document
    assert "tag" not in entry
    assert entry["clOrdId"] == CLIENT_ID


async def test_accounts_sign_with_their_own_keys(server: RecordingServer, connection: BrokerConnection) -> None:
    """The accounts are used in turn. Each request carries the key and passphrase of its account."""
    server.answers["account/balance"] = []
    other = CREDENTIALS.model_copy(update={"passphrase": SecretStr("another")})
    accounts = [connection.account(keys(0)), connection.account(other)]
    for each in [*accounts, *accounts]:
        await each.balances()
    shown = [(request.headers["OK-ACCESS-KEY"], request.headers["OK-ACCESS-PASSPHRASE"]) for request in server.requests]
    assert shown == [("key-0", "Pass-phrase1!"), ("key-of-a-test", "another")] * 2


async def test_a_client_is_cheap_to_make(connection: BrokerConnection) -> None:
    """A client takes at most 0.2 ms of CPU and 60 KiB. ccxt's own constructor takes 50 times as long."""
    credentials = [keys(number) for number in range(500)]
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    accounts = [connection.account(each) for each in credentials]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(accounts) == 500
    assert (after - before) / 500 <= 60 * 1024
    started = process_time()
    accounts = [connection.account(each) for each in credentials]
    assert (process_time() - started) / 500 <= 0.0002
