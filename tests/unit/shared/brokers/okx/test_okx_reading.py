"""Tests how the gateway reads markets, balances, permissions, fees and prices of OKX and compatible servers."""

from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.errors import KeyRefused, OutcomeUnknown, RateLimited
from shared.brokers.port.account import BrokerAccount, KeyPermissions
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.accounts.equity import Balance
from shared.domain.fees import FeeRates
from shared.domain.identity import Broker
from tests.support.prices import dollar_prices
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.conftest import CountingNonces
from tests.unit.shared.brokers.okx.conftest import refused


def detail(currency: str, **fields: Any) -> dict[str, Any]:
    return {"ccy": currency, **fields}


async def test_balances_tell_holds(server: RecordingServer, account: BrokerAccount) -> None:
    """What open orders hold counts in the total and is not free. Zero balances are left out."""
    server.answers["account/balance"] = [
        {
            "totalEq": "1",
            "details": [
                detail("BTC", eq="0.5", cashBal="0.5", availBal="0.4", availEq="", frozenBal="0.1", ordFrozen="0.1"),
                detail("USDT", eq="100.25", cashBal="100.25", availBal="100.25", frozenBal="0"),
                detail("ETH", eq="0", cashBal="0", availBal="0"),
            ],
        }
    ]
    assert await account.balances() == {
        "BTC": Balance(free=Decimal("0.4"), total=Decimal("0.5")),
        "USDT": Balance(free=Decimal("100.25"), total=Decimal("100.25")),
    }


@pytest.mark.parametrize(
    ("fields", "free", "total"),
    [
        ({"eq": "2", "availEq": "1.5", "availBal": ""}, "1.5", "2"),
        ({"cashBal": "2", "frozenBal": "0.5"}, "1.5", "2"),
        ({"eq": 2, "availBal": 1}, "1", "2"),
        ({"availBal": "1.5", "frozenBal": "0.5"}, "1.5", "2"),
        ({"eq": "2", "availBal": "-1"}, "0", "2"),
    ],
)
async def test_balances_of_other_servers_and_account_modes_are_read(
    server: RecordingServer, account: BrokerAccount, fields: dict[str, Any], free: str, total: str
) -> None:
    """Fields may be missing, and numbers may replace text."""
    server.answers["account/balance"] = [{"details": [detail("BTC", **fields)]}]
    assert await account.balances() == {"BTC": Balance(free=Decimal(free), total=Decimal(total))}


@pytest.mark.parametrize("data", [[], [{}], [{"details": []}], [{"details": None}]])
async def test_an_account_without_anything_has_no_balances(
    server: RecordingServer, account: BrokerAccount, data: list[Any]
) -> None:
    """Empty lists are valid replies."""
    server.answers["account/balance"] = data
    assert await account.balances() == {}


@pytest.mark.parametrize(
    "data", [["x"], [{"details": ["x"]}], [{"details": [{"eq": "1"}]}], [{"details": [{"eq": "x"}]}]]
)
async def test_balances_that_cannot_be_read_are_not_guessed(
    server: RecordingServer, account: BrokerAccount, data: list[Any]
) -> None:
    """An unreadable reply is never taken for an empty account."""
    server.answers["account/balance"] = data
    with pytest.raises(OutcomeUnknown):
        await account.balances()


@pytest.mark.parametrize(
    ("data", "may_trade", "may_withdraw", "reported"),
    [
        ([{"perm": "read_only,trade"}], True, False, True),
        ([{"perm": "read_only"}], False, False, True),
        ([{"perm": "read_only, withdraw, trade"}], True, True, True),
        ([{"perm": ""}], True, True, True),
        ([{"perm": None}], True, True, True),
        ([{}], True, True, True),
        ([], True, True, True),
        (["x"], True, True, False),
        (refused("50026", status=500), True, True, False),
        (refused("50120", status=401), True, True, True),
    ],
)
async def test_what_is_not_told_of_a_key_counts_as_allowed(
    server: RecordingServer, account: BrokerAccount, data: Any, may_trade: bool, may_withdraw: bool, reported: bool
) -> None:
    """The field may be missing, the request may fail (then `answered` is False), or the key may not read this."""
    server.answers["account/config"] = data
    expected = KeyPermissions(may_trade=may_trade, may_withdraw=may_withdraw, answered=reported)
    assert await account.key_permissions() == expected


@pytest.mark.parametrize("fields", [{"perm": "read_only,trade"}, {}])
@pytest.mark.parametrize(
    ("mode", "words"),
    [("1", ""), ("2", ""), (None, ""), ("3", "multi-currency margin mode"), (4, "portfolio margin mode")],
)
async def test_an_account_in_a_mode_without_spot_orders_is_not_supported(
    server: RecordingServer, account: BrokerAccount, fields: dict[str, str], mode: Any, words: str
) -> None:
    """OKX would refuse each order. The text names the mode of the account, and the modes that are right."""
    server.answers["account/config"] = [{**fields, "acctLv": mode}]
    unsupported = (await account.key_permissions()).unsupported
    assert bool(unsupported) is bool(words)
    assert words in unsupported
    assert not words or unsupported.endswith("choose the account mode Spot or Futures at OKX")


async def test_a_key_that_does_not_work_is_told_from_one_that_may_not_ask(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """A wrong signature and a rate limit are raised as errors."""
    server.answers["account/config"] = refused("50113", status=401)
    with pytest.raises(KeyRefused):
        await account.key_permissions()
    server.answers["account/config"] = refused("50011", status=429)
    with pytest.raises(RateLimited):
        await account.key_permissions()


async def test_the_accounts_own_fee_tier_is_told(server: RecordingServer, account: BrokerAccount) -> None:
    """OKX writes a charge as a negative and a rebate as a positive rate. A reply without rates is an error."""
    own: Any = account
    server.answers["account/trade-fee"] = [{"instType": "SPOT", "taker": "-0.0008", "maker": "0.0001", "level": "Lv5"}]
    assert await own.fee_rates() == FeeRates(taker=Decimal("0.0008"), maker=Decimal("-0.0001"))
    assert server.requests[0].query == {"instType": "SPOT"}
    for data in ([], [{}], [{"taker": "", "maker": ""}]):
        server.answers["account/trade-fee"] = data
        with pytest.raises(OutcomeUnknown):
            await own.fee_rates()


async def test_markets_are_the_spot_pairs_that_can_be_traded(connection: BrokerConnection) -> None:
    """Symbols are canonical. A pair that is only announced has no lot and is left out."""
    instruments = connection.instruments()
    assert set(instruments) == {"BTC/USDT", "ETH/USDT", "SOL/USDC"}
    ether = instruments["ETH/USDT"]
    assert (ether.base, ether.quote, ether.broker) == ("ETH", "USDT", Broker.OKX)
    assert (ether.lot, ether.price_tick) == (Decimal("0.000001"), Decimal("0.01"))
    assert (ether.minimum_quantity, ether.minimum_cost) == (Decimal("0.0001"), Decimal(0))


async def test_only_spot_markets_are_asked_for_and_without_a_key(
    server: RecordingServer, nonces: CountingNonces
) -> None:
    """The client for markets has no key, because markets loaded with a key would carry its fee tier."""
    connection = connect(Broker.OKX, base_url=server.url, nonces=nonces)
    await connection.open()
    (sent,) = server.requests
    assert (sent.path, sent.query) == ("/api/v5/public/instruments", {"instType": "SPOT"})
    assert "OK-ACCESS-KEY" not in sent.headers
    await connection.close()


@pytest.mark.parametrize("answer", [[], ["x"], refused("50001", status=503), web.Response(text="<html>")])
async def test_a_list_of_markets_that_tells_nothing_is_an_error(
    server: RecordingServer, nonces: CountingNonces, answer: Any
) -> None:
    """No market could be traded with such a list."""
    server.answers["public/instruments"] = answer
    connection = connect(Broker.OKX, base_url=server.url, nonces=nonces)
    with pytest.raises(OutcomeUnknown):
        await connection.open()


async def test_the_whole_price_list_is_one_request(server: RecordingServer, connection: BrokerConnection) -> None:
    """A pair that never traded has no price. USDC is used where USDT is missing. Each kind of dollar is one dollar."""
    server.answers["market/tickers"] = [
        {"instId": "BTC-USDT", "last": 50000},
        {"instId": "ETH-USDT", "last": ""},
        {"instId": "SOL-USDC", "last": "150"},
        {"instId": "SOL-USDT", "last": "0"},
    ]
    prices = await dollar_prices(connection, "BTC", "ETH", "SOL", "USD", "USDC", "NOPE")
    assert prices == {"BTC": Decimal(50000), "SOL": Decimal(150), "USD": Decimal(1), "USDC": Decimal(1)}
    assert [request.query for request in server.requests] == [{"instType": "SPOT"}]


@pytest.mark.parametrize("answer", [["x"], [{"last": "1"}], refused("50026", status=500)])
async def test_tickers_that_cannot_be_read_are_an_error(
    server: RecordingServer, connection: BrokerConnection, answer: Any
) -> None:
    """The coins are not valued at zero."""
    server.answers["market/tickers"] = answer
    with pytest.raises(OutcomeUnknown):
        await connection.price_list()
