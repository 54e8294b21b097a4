"""Tests how the gateway reads Binance's markets, balances, prices and key permissions."""

import gc
import tracemalloc
from decimal import Decimal
from time import process_time
from typing import Any

import pytest
from pydantic import SecretStr

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.errors import KeyRefused, OutcomeUnknown, RateLimited
from shared.brokers.port.account import KeyPermissions
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.equity import Balance
from shared.domain.fees import FeeRates
from shared.domain.identity import Broker
from tests.support.prices import dollar_prices
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.binance.conftest import listed, refused
from tests.unit.shared.brokers.conftest import CountingNonces

NEVER = KeyPermissions(may_trade=True, may_withdraw=True)
NOT_ANSWERED = KeyPermissions(may_trade=True, may_withdraw=True, answered=False)


async def test_only_spot_markets_are_loaded_and_from_the_given_address(binance: RecordingServer) -> None:
    """One request loads them; futures, margin and currencies are not requested."""
    connection = connect(Broker.BINANCE, base_url=binance.url, nonces=CountingNonces(), request_timeout_seconds=2)
    await connection.open()
    assert [(request.method, request.path) for request in binance.requests] == [("GET", "/api/v3/exchangeInfo")]
    await connection.close()


def test_markets_have_canonical_symbols_lots_and_minimums(connection: BrokerConnection) -> None:
    """Lots and minimums come from the filters. Delisted pairs are left out. Without filters, the lot is the finest."""
    bitcoin = connection.instruments()["BTC/USDT"]
    assert (bitcoin.broker, bitcoin.base, bitcoin.quote) == (Broker.BINANCE, "BTC", "USDT")
    assert (bitcoin.lot, bitcoin.price_tick) == (Decimal("0.00001"), Decimal("0.01"))
    assert (bitcoin.minimum_quantity, bitcoin.minimum_cost) == (Decimal("0.00001"), Decimal(5))
    assert "OLD/USDT" not in connection.instruments()
    assert connection.instruments()["XRP/USDT"].lot == Decimal("0.00000001")


async def test_the_stricter_lot_holds_for_market_orders(binance: RecordingServer) -> None:
    """MARKET_LOT_SIZE applies to market orders. MIN_NOTIONAL is the older name of the minimum cost."""
    filters = [
        {"filterType": "LOT_SIZE", "minQty": "0.001", "stepSize": "0.001"},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0.1", "stepSize": "0.1"},
        {"filterType": "MIN_NOTIONAL", "minNotional": "10"},
    ]
    binance.answers["GET exchangeInfo"] = {"symbols": [listed("BTC", "USDT", filters=filters)]}
    connection = connect(Broker.BINANCE, base_url=binance.url, nonces=CountingNonces(), request_timeout_seconds=2)
    await connection.open()
    bitcoin = connection.instruments()["BTC/USDT"]
    assert (bitcoin.lot, bitcoin.minimum_quantity, bitcoin.minimum_cost) == (Decimal("0.1"), Decimal("0.1"), 10)
    await connection.close()


@pytest.mark.parametrize("answer", [{}, {"symbols": []}, {"symbols": "none"}, [], "text", {"symbols": [{"a": 1}]}])
async def test_markets_that_cannot_be_read_do_not_open(binance: RecordingServer, answer: Any) -> None:
    """An error is better than a connection without any market."""
    binance.answers["GET exchangeInfo"] = answer
    connection = connect(Broker.BINANCE, base_url=binance.url, nonces=CountingNonces(), request_timeout_seconds=2)
    with pytest.raises(OutcomeUnknown):
        await connection.open()


async def test_balances_are_free_and_locked_together(binance: RecordingServer, account: BinanceAccount) -> None:
    """Numbers may be text. Zero balances are left out, and without `locked` the whole balance is free.

    What earns (LDUSDT) is a part of the total that no order can use.
    """
    binance.answers["GET account"] = {
        "balances": [
            {"asset": "BTC", "free": "0.10000000", "locked": "0.02000000"},
            {"asset": "USDT", "free": 100.5},
            {"asset": "LDUSDT", "free": "900", "locked": "0"},
            {"asset": "ETH", "free": "0.00000000", "locked": "0.00000000"},
        ]
    }
    assert await account.balances() == {
        "BTC": Balance(free=Decimal("0.1"), total=Decimal("0.12")),
        "USDT": Balance(free=Decimal("100.5"), total=Decimal("1000.5")),
    }
    assert binance.requests[0].fields["omitZeroBalances"] == "true"


@pytest.mark.parametrize("answer", [{}, [], {"balances": None}, {"balances": [{"asset": "BTC"}]}, {"balances": ["x"]}])
async def test_an_account_that_cannot_be_read_is_not_empty(
    binance: RecordingServer, account: BinanceAccount, answer: Any
) -> None:
    """A reply of another form is an error."""
    binance.answers["GET account"] = answer
    with pytest.raises(OutcomeUnknown):
        await account.balances()


async def test_the_whole_price_list_is_one_request(binance: RecordingServer, connection: BrokerConnection) -> None:
    """Prices may be in any kind of dollar or inverse. A coin that never traded, or has a broken ticker, has no price."""
    binance.answers["GET price"] = [
        {"symbol": "BTCUSDT", "price": "50000.00"},
        {"symbol": "SOLUSDC", "price": 150.5},
        {"symbol": "USDTTRY", "price": "40.00"},
        {"symbol": "ETHUSDT", "price": "0.00"},
        {"symbol": "ETHUSDC", "price": None},
    ]
    assert await dollar_prices(connection, "BTC", "SOL", "TRY", "ETH", "NONE", "USDT", "USD") == {
        "BTC": Decimal(50_000),
        "SOL": Decimal("150.5"),
        "TRY": Decimal("0.025"),
        "USDT": Decimal(1),
        "USD": Decimal(1),
    }
    (sent,) = binance.requests
    assert "symbols" not in sent.fields


@pytest.mark.parametrize("ended", [{"status": "BREAK"}, {"isSpotTradingAllowed": False}])
async def test_a_pair_that_is_no_longer_traded_gives_no_price(
    binance: RecordingServer, connection: BrokerConnection, ended: dict[str, Any]
) -> None:
    """Binance still shows its last price. The coin is worth what the pair shows that is traded."""
    pairs = [listed("OLD", "USDT", **ended), listed("OLD", "USDC"), listed("BTC", "USDT")]
    binance.answers["GET exchangeInfo"] = {"symbols": pairs}
    await connection.reload()
    binance.answers["GET price"] = [
        {"symbol": "OLDUSDT", "price": "900"},
        {"symbol": "OLDUSDC", "price": "7"},
        {"symbol": "GONEUSDT", "price": "8"},
    ]
    assert await dollar_prices(connection, "OLD", "GONE") == {"OLD": Decimal(7)}


ALLOWED = {
    "enableSpotAndMarginTrading": True,
    "enableWithdrawals": False,
    "enableInternalTransfer": False,
    "permitsUniversalTransfer": False,
}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ALLOWED, KeyPermissions(may_trade=True, may_withdraw=False)),
        ({**ALLOWED, "enableSpotAndMarginTrading": False}, KeyPermissions(may_trade=False, may_withdraw=False)),
        ({**ALLOWED, "enableWithdrawals": True}, NEVER),
        ({**ALLOWED, "enableInternalTransfer": True}, NEVER),
        ({**ALLOWED, "permitsUniversalTransfer": True}, NEVER),
        ({key: value for key, value in ALLOWED.items() if key != "enableWithdrawals"}, NEVER),
        ({}, NEVER),
        ([], NOT_ANSWERED),
        ("text", NOT_ANSWERED),
        (refused(-1100, "?"), NOT_ANSWERED),
        (refused(-1000, "?", 500), NOT_ANSWERED),
    ],
)
async def test_what_a_key_may_do(
    binance: RecordingServer, account: BinanceAccount, answer: Any, expected: KeyPermissions
) -> None:
    """A transfer counts as a withdrawal. An error or a missing field counts as "may withdraw".

    After an error, `answered` is False, so the answer may change later.
    """
    binance.answers["GET apiRestrictions"] = answer
    assert await account.key_permissions() == expected
    assert binance.requests[0].path == "/sapi/v1/account/apiRestrictions"


@pytest.mark.parametrize("restrictions", ["text", refused(-1100, "?"), refused(-1000, "?", 500)])
async def test_the_account_is_named_although_the_restrictions_are_not_shown(
    binance: RecordingServer, account: BinanceAccount, restrictions: Any
) -> None:
    """The spot test network has no restrictions of keys. Its accounts have an id nevertheless."""
    binance.answers["GET apiRestrictions"] = restrictions
    binance.answers["GET account"] = {"uid": 354937868, "balances": []}
    assert await account.key_permissions() == NOT_ANSWERED.model_copy(update={"identity": "354937868"})


@pytest.mark.parametrize(
    ("answer", "expected"), [(refused(-2015, "?", 401), KeyRefused), (refused(-1003, "?", 429), RateLimited)]
)
async def test_a_key_that_does_not_work_has_no_permissions(
    binance: RecordingServer, account: BinanceAccount, answer: Any, expected: type[Exception]
) -> None:
    """A refused key and a rate limit are raised as errors."""
    binance.answers["GET apiRestrictions"] = answer
    with pytest.raises(expected):
        await account.key_permissions()


@pytest.mark.parametrize("api_key", ["two words", "line\nend"])
async def test_a_key_of_the_wrong_form_is_refused_without_a_request(
    binance: RecordingServer, connection: BrokerConnection, api_key: str
) -> None:
    """An HTTP header cannot contain such a key."""
    account = connection.account(Credentials(api_key=SecretStr(api_key), api_secret=SecretStr("s")))
    with pytest.raises(KeyRefused):
        await account.balances()
    assert binance.requests == []


async def test_the_accounts_own_fee_tier_is_told(binance: RecordingServer, account: BinanceAccount) -> None:
    """Rates are fractions, read from either form of the reply. A reply without rates is an error, not a fee of zero."""
    rates = {"maker": "0.00040000", "taker": "0.00060000"}
    binance.answers["GET account"] = {"makerCommission": 10, "takerCommission": 10, "commissionRates": rates}
    assert await account.fee_rates() == FeeRates(taker=Decimal("0.0006"), maker=Decimal("0.0004"))
    binance.answers["GET account"] = {"makerCommission": 9, "takerCommission": 10}
    assert await account.fee_rates() == FeeRates(taker=Decimal("0.001"), maker=Decimal("0.0009"))
    for reply in ({}, {"commissionRates": {}}, {"commissionRates": {"maker": "?", "taker": "?"}}):
        binance.answers["GET account"] = reply
        with pytest.raises(OutcomeUnknown):
            await account.fee_rates()


def test_two_accounts_share_no_state_that_matters(connection: BrokerConnection) -> None:
    """Each account has its own keys, options, headers, throttler and caches."""
    first, second = (
        connection.account(Credentials(api_key=SecretStr(key), api_secret=SecretStr("s"))) for key in ("one", "two")
    )
    mine, other = vars(first._client), vars(second._client)  # type: ignore[attr-defined]
    for name in ("options", "headers", "throttler", "balance", "trades", "tickers"):
        assert mine[name] is not other[name]
    assert (mine["apiKey"], other["apiKey"]) == ("one", "two")


async def test_each_account_signs_with_its_own_key(binance: RecordingServer, connection: BrokerConnection) -> None:
    """The accounts are used in turn."""
    binance.answers["GET account"] = {"balances": []}
    accounts = [
        connection.account(Credentials(api_key=SecretStr(f"key-{number}"), api_secret=SecretStr("s")))
        for number in range(3)
    ]
    for account in [*accounts, *accounts]:
        await account.balances()
    assert [request.headers["X-MBX-APIKEY"] for request in binance.requests] == ["key-0", "key-1", "key-2"] * 2


def test_an_account_is_cheap(connection: BrokerConnection) -> None:
    """An account takes at most 60 KiB and 0.2 ms to create. The time leaves room for a busy machine."""
    keys = [Credentials(api_key=SecretStr(f"key-{number}"), api_secret=SecretStr("s")) for number in range(500)]
    gc.collect()
    started = process_time()
    kept = [connection.account(key) for key in keys]
    seconds = process_time() - started
    del kept
    tracemalloc.start()
    try:
        accounts = [connection.account(key) for key in keys]
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds / len(keys) <= 0.0002
    assert used / len(accounts) <= 60 * 1024
