"""Tests how the gateway reads Coinbase's products, prices, wallets, key permissions and fee tier."""

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
from tests.unit.shared.brokers.coinbase.conftest import ACCOUNTS, LISTED, PERMISSIONS, PRODUCTS, product
from tests.unit.shared.brokers.conftest import CountingNonces

SUMMARY = "transaction_summary"


def wallet(currency: str, available: Any, hold: Any = "0", **more: Any) -> dict[str, Any]:
    return {
        "uuid": f"wallet-{currency}",
        "currency": currency,
        "available_balance": {"value": available, "currency": currency},
        "hold": {"value": hold, "currency": currency},
        "type": "ACCOUNT_TYPE_CRYPTO",
        **more,
    }


async def test_markets_come_by_one_public_request(server: RecordingServer, nonces: CountingNonces) -> None:
    """The request has no key, because the key's fee tier would then be in the markets of every follower."""
    connection = connect(Broker.COINBASE, base_url=server.url + "/below/", nonces=nonces)
    server.answers["/below/api/v3/brokerage/market/products"] = server.answers[PRODUCTS]
    await connection.open()
    (sent,) = server.requests
    assert (sent.method, sent.path) == ("GET", "/below/api/v3/brokerage/market/products")
    assert "Authorization" not in sent.headers
    assert "BTC/USD" in connection.instruments()
    await connection.close()


def test_instruments_have_canonical_symbols_and_coinbases_steps(connection: BrokerConnection) -> None:
    """Aliases are separate instruments, futures are left out, CGLD is Celo, and a missing minimum is zero."""
    instruments = connection.instruments()
    assert set(instruments) == {
        "BTC/USD", "BTC/USDC", "ETH/USD", "CELO/USD", "NEW/USD", "OLD/USDT", "BARE/USD",
    }  # fmt: skip
    ether = instruments["ETH/USD"]
    assert (ether.base, ether.quote) == ("ETH", "USD")
    assert (ether.lot, ether.price_tick) == (Decimal("0.001"), Decimal("0.01"))
    assert (ether.minimum_quantity, ether.minimum_cost) == (Decimal("0.00000001"), 5)
    assert instruments["BARE/USD"].minimum_cost == 0


@pytest.mark.parametrize("reply", [{"products": []}, {}, {"products": ["?"]}, {"products": None}])
async def test_a_list_without_products_opens_nothing(
    server: RecordingServer, nonces: CountingNonces, reply: dict[str, Any]
) -> None:
    """An error is better than a connection without any market."""
    server.answers[PRODUCTS] = reply
    connection = connect(Broker.COINBASE, base_url=server.url, nonces=nonces)
    with pytest.raises(OutcomeUnknown):
        await connection.open()


async def test_the_whole_price_list_is_one_request(server: RecordingServer, connection: BrokerConnection) -> None:
    """Prices are in dollars, if necessary through a stablecoin. What is unlisted or never traded has no price."""
    assert await dollar_prices(connection, "BTC", "ETH", "CELO", "OLD", "NEW", "NOTLISTED", "USD", "USDC") == {
        "BTC": Decimal("50000.01"),
        "ETH": Decimal("2500.5"),
        "CELO": Decimal("0.61"),
        "OLD": Decimal(7),
        "USD": Decimal(1),
        "USDC": Decimal(1),
    }
    (sent,) = server.requests
    assert "product_ids" not in sent.query


@pytest.mark.parametrize("flags", [{"is_disabled": True}, {"trading_disabled": True}, {"is_listed": False}])
async def test_a_product_that_is_no_longer_traded_gives_no_price(
    server: RecordingServer, connection: BrokerConnection, flags: dict[str, bool]
) -> None:
    """Coinbase still shows its last price. The coin is worth what the product shows that is traded."""
    server.answers[PRODUCTS] = {"products": [*LISTED, product("OLD-USD", price="900", **flags)]}
    if flags.get("is_listed", True):
        await connection.reload()
    assert await dollar_prices(connection, "OLD") == {"OLD": Decimal(7)}


async def test_balances_add_up_what_is_free_and_what_is_held(server: RecordingServer, account: BrokerAccount) -> None:
    """All pages are read, and wallets of one currency are added. A vault counts in the total but is not free."""
    pages = {
        None: {"accounts": [wallet("BTC", "0.4", "0.1"), wallet("ETH", "0")], "has_next": True, "cursor": "c1"},
        "c1": {
            "accounts": [
                wallet("BTC", "2", type="ACCOUNT_TYPE_VAULT"),
                wallet("CGLD", "1"),
                wallet("USD", 1000.25, type="ACCOUNT_TYPE_FIAT"),
                wallet("USDC", "3", type="ACCOUNT_TYPE_PERP_FUTURES"),
            ],
            "has_next": False,
            "cursor": "",
        },
    }
    server.answers[ACCOUNTS] = lambda request: pages[dict(request.query).get("cursor")]
    assert await account.balances() == {
        "BTC": Balance(free=Decimal("0.4"), total=Decimal("2.5")),
        "CELO": Balance(free=Decimal(1), total=Decimal(1)),
        "USD": Balance(free=Decimal("1000.25"), total=Decimal("1000.25")),
    }
    assert [dict(request.query)["limit"] for request in server.requests] == ["250", "250"]


async def test_a_wallet_may_leave_out_its_hold_and_name(server: RecordingServer, account: BrokerAccount) -> None:
    """Other servers leave out these fields."""
    server.answers[ACCOUNTS] = {"accounts": [{"available_balance": {"value": "7", "currency": "SOL"}}]}
    assert await account.balances() == {"SOL": Balance(free=Decimal(7), total=Decimal(7))}


@pytest.mark.parametrize(
    "reply", [{}, {"accounts": ["?"]}, {"accounts": [{}]}, {"accounts": [wallet("BTC", "many")]}, [], {"accounts": 7}]
)
async def test_wallets_that_cannot_be_read_are_no_empty_account(
    server: RecordingServer, account: BrokerAccount, reply: Any
) -> None:
    """The caller reads again, because an account that seems empty would close positions."""
    server.answers[ACCOUNTS] = reply
    if reply == []:
        server.answers[ACCOUNTS] = web.json_response([])
    with pytest.raises(OutcomeUnknown):
        await account.balances()


async def test_a_list_that_goes_round_in_circles_ends(
    server: RecordingServer, account: BrokerAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading ends at a repeated cursor, or fails after too many pages."""
    server.answers[ACCOUNTS] = {"accounts": [wallet("BTC", "1")], "has_next": True, "cursor": "same"}
    assert (await account.balances())["BTC"].total == 2
    monkeypatch.setattr("shared.brokers.coinbase.history.MOST_PAGES", 5)
    server.answers[ACCOUNTS] = lambda _: {
        "accounts": [wallet("BTC", "1")],
        "cursor": str(len(server.requests)),
    }
    with pytest.raises(OutcomeUnknown, match="does not end"):
        await account.balances()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"can_view": True, "can_trade": True, "can_transfer": False}, (True, False, True)),
        ({"can_view": True, "can_trade": False, "can_transfer": False}, (False, False, True)),
        ({"can_trade": True, "can_transfer": True}, (True, True, True)),
        ({"can_trade": True}, (True, True, True)),
        ({"can_trade": True, "can_transfer": "no"}, (True, True, True)),
        ({}, (True, True, True)),
        ([], (True, True, False)),
    ],
)
async def test_what_coinbase_does_not_tell_of_a_key_counts_as_allowed(
    server: RecordingServer, account: BrokerAccount, reply: Any, expected: tuple[bool, bool, bool]
) -> None:
    """Only a plain `false` means that the key cannot transfer. An unreadable reply leaves `answered` False."""
    server.answers[PERMISSIONS] = lambda _: web.json_response(reply)
    may_trade, may_withdraw, reported = expected
    assert await account.key_permissions() == KeyPermissions(
        may_trade=may_trade, may_withdraw=may_withdraw, answered=reported
    )


async def test_an_error_of_coinbase_tells_nothing_of_a_key(server: RecordingServer, account: BrokerAccount) -> None:
    """The worst is assumed, and `answered` is False."""
    server.answers[PERMISSIONS] = lambda _: web.Response(status=502, text="Bad Gateway")
    assert await account.key_permissions() == KeyPermissions(may_trade=True, may_withdraw=True, answered=False)


async def test_a_key_that_does_not_work_at_all_is_told(server: RecordingServer, account: BrokerAccount) -> None:
    """A refused key and a rate limit are raised as errors."""
    server.answers[PERMISSIONS] = lambda _: web.Response(status=401, text="Unauthorized")
    with pytest.raises(KeyRefused):
        await account.key_permissions()
    server.answers[PERMISSIONS] = lambda _: web.Response(status=429)
    with pytest.raises(RateLimited):
        await account.key_permissions()


async def test_the_accounts_own_fee_tier_is_told(server: RecordingServer, account: BrokerAccount) -> None:
    """Rates are fractions. A summary without a tier is an error, not a fee of zero."""
    own: Any = account
    tier = {"pricing_tier": "Advanced 3", "taker_fee_rate": "0.0025", "maker_fee_rate": "0.0015"}
    server.answers[SUMMARY] = {"total_volume": 1.5, "fee_tier": tier}
    assert await own.fee_rates() == FeeRates(taker=Decimal("0.0025"), maker=Decimal("0.0015"))
    for reply in ({}, {"fee_tier": None}, {"fee_tier": {"taker_fee_rate": ""}}):
        server.answers[SUMMARY] = lambda _, reply=reply: web.json_response(reply)
        with pytest.raises(OutcomeUnknown):
            await own.fee_rates()
