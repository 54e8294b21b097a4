"""Tests how the gateway reads markets, prices, balances and permissions of Kraken and of compatible servers."""

from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import KeyRefused, NotSent, OutcomeUnknown, RateLimited
from shared.brokers.port.account import BrokerAccount, KeyPermissions
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.accounts.equity import Balance
from shared.domain.identity import Broker
from tests.support.prices import dollar_prices
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import PAIRS, CountingNonces, error_reply, pair

NEVER = KeyPermissions(may_trade=True, may_withdraw=True)
NOT_ANSWERED = KeyPermissions(may_trade=True, may_withdraw=True, answered=False)


def test_instruments_have_the_lot_and_the_minimums(connection: BrokerConnection) -> None:
    """They come from lot_decimals, tick_size, ordermin and costmin. If these are missing, there is no minimum."""
    instruments = connection.instruments()
    bitcoin = instruments["BTC/USD"]
    assert (bitcoin.base, bitcoin.quote, bitcoin.lot, bitcoin.price_tick) == (
        "BTC",
        "USD",
        Decimal("1E-8"),
        Decimal("0.1"),
    )
    assert (bitcoin.minimum_quantity, bitcoin.minimum_cost) == (Decimal("0.00005"), Decimal("0.5"))
    assert instruments["ETH/USD"].price_tick == Decimal("0.01")
    assert instruments["NEW/USD"].lot == Decimal("1E-8")
    assert instruments["NEW/USD"].minimum_cost == 0


async def test_pairs_that_are_listed_later_are_found_by_a_reload(
    server: RecordingServer, connection: BrokerConnection
) -> None:
    """New pairs have their present lots. An unusable list keeps the known pairs and their prices."""
    pairs = PAIRS | {"NEWERUSD": pair("NEWER", "ZUSD", "NEWERUSD", "NEWER/USD", lot_decimals=3)}
    server.answers["AssetPairs"] = pairs
    await connection.reload()
    assert connection.instruments()["NEWER/USD"].lot == Decimal("0.001")
    listed = connection.instruments()
    for unusable in ({}, {"XXBTZUSD": "no object"}):
        server.answers["AssetPairs"] = unusable
        with pytest.raises(OutcomeUnknown):
            await connection.reload()
    assert connection.instruments() == listed
    server.answers["Ticker"] = {"NEWERUSD": {"c": ["2.5", "1"]}}
    assert await connection.price_list() == {"NEWER/USD": Decimal("2.5")}


async def test_the_base_url_keeps_its_path_and_loses_its_last_slash(
    server: RecordingServer, nonces: CountingNonces
) -> None:
    """The path of the API follows the base URL exactly once."""
    connection = connect(Broker.KRAKEN, base_url=server.url + "/prefix/", nonces=nonces)
    await connection.open()
    await connection.close()
    assert {request.path for request in server.requests} == {
        "/prefix/0/public/Assets",
        "/prefix/0/public/AssetPairs",
    }


async def test_markets_are_loaded_without_a_key(server: RecordingServer, nonces: CountingNonces) -> None:
    """No nonce is taken and no key is sent."""
    connection = connect(Broker.KRAKEN, base_url=server.url, nonces=nonces)
    await connection.open()
    await connection.close()
    assert all("API-Key" not in request.headers for request in server.requests)
    assert nonces.reserved == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (error_reply("EService:Unavailable"), OutcomeUnknown),
        (error_reply("EGeneral:Too many requests"), RateLimited),
        ([1, 2], OutcomeUnknown),
        ({"XXBTZUSD": 7}, OutcomeUnknown),
    ],
)
async def test_a_connection_that_cannot_load_markets_says_so_and_is_closed(
    server: RecordingServer, nonces: CountingNonces, answer: Any, expected: type[Exception]
) -> None:
    """No session stays open. An unclosed session would warn, and warnings fail this test run."""
    server.answers["AssetPairs"] = answer
    connection = connect(Broker.KRAKEN, base_url=server.url, nonces=nonces)
    with pytest.raises(expected):
        await connection.open()
    with pytest.raises(RuntimeError):
        await connection.price_list()


async def test_a_server_that_is_not_there_is_told_from_one_that_fails(nonces: CountingNonces) -> None:
    """No server listens on port 1 of this machine."""
    connection = connect(Broker.KRAKEN, base_url="http://127.0.0.1:1", nonces=nonces)
    with pytest.raises(NotSent):
        await connection.open()


async def test_the_whole_price_list_is_one_request(server: RecordingServer, connection: BrokerConnection) -> None:
    """USD pairs come first, then USDT at 1 dollar, then inverse pairs, as for the yen. A broken ticker hides no other."""
    server.answers["Ticker"] = {
        "XXBTZUSD": {"c": ["30000.10000", "0.1"]},
        "SOLUSDT": {"c": ["20.5", "1"]},
        "ZUSDZJPY": {"c": ["125", "1"]},
        "NEWUSD": {"c": None},
        "XETHZUSD": {"c": ["0.0", "0"]},
    }
    assert await dollar_prices(connection, "BTC", "SOL", "JPY", "USDT", "USD", "NEW", "ETH", "UNLISTED") == {
        "BTC": Decimal("30000.1"),
        "SOL": Decimal("20.5"),
        "JPY": Decimal("0.008"),
        "USDT": 1,
        "USD": 1,
    }
    (request,) = server.requests
    assert "pair" not in request.fields


async def test_balances_tell_what_is_held_and_what_is_free(server: RecordingServer, account: BrokerAccount) -> None:
    """What orders hold is not free, `.F` is the coin, staked coins count in the total only, and zeros are left out."""
    server.answers["BalanceEx"] = {
        "ZUSD": {"balance": "100.5000", "hold_trade": "40.2500"},
        "XXBT": {"balance": 1.2435, "hold_trade": 0.8423},
        "XBT.F": {"balance": "0.5", "hold_trade": "0"},
        "XBT.S": {"balance": "2"},
        "ETH.B": {"balance": "3"},
        "ETH2.S": {"balance": "1"},
        "SOL.M": {"balance": "4"},
        "USD.HOLD": {"balance": "10"},
        "AAPLx.T": {"balance": "6"},
        "KFEE": {"balance": "0.00", "hold_trade": "0"},
        "XXDG": {"balance": "5"},
    }
    assert await account.balances() == {
        "USD": Balance(free=Decimal("60.25"), total=Decimal("110.5")),
        "BTC": Balance(free=Decimal("0.9012"), total=Decimal("3.7435")),
        "ETH": Balance(free=Decimal(0), total=Decimal(4)),
        "SOL": Balance(free=Decimal(0), total=Decimal(4)),
        "AAPLX.T": Balance(free=Decimal(6), total=Decimal(6)),
        "DOGE": Balance(free=Decimal(5), total=Decimal(5)),
    }


async def test_a_json_number_keeps_every_digit(server: RecordingServer, account: BrokerAccount) -> None:
    """A binary float would change the last digits of this balance."""
    from aiohttp import web

    text = '{"error":[],"result":{"XXBT":{"balance":0.12345678901234567890123,"hold_trade":0}}}'
    server.answers["BalanceEx"] = web.Response(text=text, content_type="application/json")
    assert (await account.balances())["BTC"].total == Decimal("0.12345678901234567890123")


async def test_an_empty_account_has_no_balances(server: RecordingServer, account: BrokerAccount) -> None:
    """An empty object is a valid reply."""
    server.answers["BalanceEx"] = {}
    assert await account.balances() == {}


@pytest.mark.parametrize("answer", [[1], "text", {"XXBT": {"balance": "much"}}, {"XXBT": {"balance": [1]}}])
async def test_balances_that_cannot_be_read_are_not_guessed(
    server: RecordingServer, account: BrokerAccount, answer: Any
) -> None:
    """An unreadable reply is never taken for an empty account."""
    server.answers["BalanceEx"] = answer
    with pytest.raises(OutcomeUnknown):
        await account.balances()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"permissions": ["query-funds", "modify-trades"]}, KeyPermissions(may_trade=True, may_withdraw=False)),
        ({"permissions": ["query-funds"]}, KeyPermissions(may_trade=False, may_withdraw=False)),
        ({"permissions": ["modify-trades", "withdraw-funds"]}, NEVER),
        ({}, NEVER),
        ({"permissions": None}, NEVER),
        ("text", NOT_ANSWERED),
        (error_reply("EGeneral:Permission denied"), NEVER),
        (error_reply("EGeneral:Unknown method"), NOT_ANSWERED),
    ],
)
async def test_what_a_key_may_do(
    server: RecordingServer, account: BrokerAccount, answer: Any, expected: KeyPermissions
) -> None:
    """An error or a missing field counts as "may withdraw". After an error, `answered` is False."""
    server.answers["GetApiKeyInfo"] = answer
    assert await account.key_permissions() == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("EAPI:Invalid key", KeyRefused), ("EAPI:Rate limit exceeded", RateLimited)]
)
async def test_a_key_that_does_not_work_has_no_permissions(
    server: RecordingServer, account: BrokerAccount, text: str, expected: type[Exception]
) -> None:
    """A refused key and a rate limit are raised as errors."""
    server.answers["GetApiKeyInfo"] = error_reply(text)
    with pytest.raises(expected):
        await account.key_permissions()
