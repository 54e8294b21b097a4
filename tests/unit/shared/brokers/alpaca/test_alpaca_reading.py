"""Tests how the gateway reads Alpaca's assets, balances, prices and account flags."""

from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from shared.brokers.alpaca.symbols import AlpacaSymbols
from shared.brokers.errors import BrokerError, KeyRefused, NotSent, OutcomeUnknown
from shared.brokers.port.account import BrokerAccount, HasMargin, KeyPermissions, MarginReading
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.domain.accounts.equity import Balance
from shared.domain.capital.facts import MarginFacts
from shared.domain.identity import Broker
from shared.domain.symbol import Symbol
from tests.support.prices import dollar_prices
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import (
    ACCOUNT,
    API_KEY,
    ASSETS,
    CREDENTIALS,
    POSITIONS,
    crypto,
    error_reply,
    stock,
)
from tests.unit.shared.brokers.conftest import CountingNonces

COIN_TRADES, STOCK_TRADES = "GET /v1beta3/crypto/us/latest/trades", "GET /v2/stocks/trades/latest"


def test_assets_become_instruments_with_alpacas_lots(connection: BrokerConnection) -> None:
    """Coins have their own increments. Stocks have a lot of 1e-9 or 1. What cannot be traded is left out."""
    instruments = connection.instruments()
    assert set(instruments) == {"BTC/USD", "ETH/USD", "ETH/BTC", "AAPL/USD", "BRK.B/USD", "BTC.STOCK/USD"}
    bitcoin, ether, cross = instruments["BTC/USD"], instruments["ETH/USD"], instruments["ETH/BTC"]
    assert (bitcoin.lot, bitcoin.minimum_quantity, bitcoin.minimum_cost, bitcoin.price_tick) == (
        Decimal("0.000000001"),
        Decimal("0.000021"),
        Decimal(10),
        Decimal("0.01"),
    )
    assert (ether.lot, ether.minimum_quantity) == (Decimal("0.0001"), Decimal("0.0005"))
    assert cross.minimum_cost == 0
    apple, berkshire = instruments["AAPL/USD"], instruments["BRK.B/USD"]
    assert (apple.base, apple.quote, apple.lot, apple.minimum_cost) == ("AAPL", "USD", Decimal("1e-9"), Decimal(1))
    assert (berkshire.lot, berkshire.minimum_cost) == (Decimal(1), Decimal(0))


@pytest.mark.parametrize(
    "answer",
    [
        error_reply(401, 40110000, "request is not authorized"),
        web.Response(text="404: Not Found", status=404),
        web.Response(text="[]", content_type="application/json"),
    ],
    ids=["key holders only", "no such path", "empty"],
)
async def test_without_a_list_of_assets_the_well_known_ones_serve(
    server: RecordingServer, nonces: CountingNonces, answer: web.Response
) -> None:
    """Alpaca lists assets for key holders only, and other servers may not list them. Trading works in both cases."""
    text, status, content_type = answer.text, answer.status, answer.content_type
    server.answers["GET /v2/assets"] = lambda _: web.Response(text=text, status=status, content_type=content_type)
    connection = connect(Broker.ALPACA, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await connection.open()
    assert {"BTC/USD", "ETH/USD", "AAPL/USD"} <= set(connection.instruments())
    assert "APCA-API-KEY-ID" not in server.requests[0].headers
    await connection.close()


async def test_assets_are_read_with_the_first_key_that_is_there(
    server: RecordingServer, nonces: CountingNonces
) -> None:
    """The list is read once, in the background. Until then, the well-known assets are used."""

    def for_key_holders(request: Recorded) -> Any:
        known = request.headers.get("APCA-API-KEY-ID") == API_KEY
        return ASSETS if known else error_reply(401, 40110000, "request is not authorized")

    server.answers |= {"GET /v2/assets": for_key_holders, ACCOUNT: {"cash": "1"}, POSITIONS: []}
    connection = connect(Broker.ALPACA, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await connection.open()
    assert "BRK.B/USD" not in connection.instruments()
    for _ in range(20):
        await connection.account(CREDENTIALS).balances()
        if "BRK.B/USD" in connection.instruments():
            break
    assert "BRK.B/USD" in connection.instruments()
    assert len(server.sent_to("GET /v2/assets")) == 2
    await connection.close()


async def test_a_lent_key_reads_the_assets_at_once(server: RecordingServer, nonces: CountingNonces) -> None:
    """A master process therefore lists all assets from its start."""
    connection = connect(
        Broker.ALPACA, base_url=f"{server.url}/v2/", nonces=nonces, request_timeout_seconds=2, markets_key=CREDENTIALS
    )
    await connection.open()
    assert server.sent_to("GET /v2/assets")[0].headers["APCA-API-KEY-ID"] == API_KEY
    assert "BRK.B/USD" in connection.instruments()
    await connection.close()


async def test_assets_that_are_listed_later_are_found_by_a_reload(
    server: RecordingServer, connection: BrokerConnection
) -> None:
    """A reload that fails keeps the known assets."""
    assert "SOL/USD" not in connection.instruments()
    server.answers["GET /v2/assets"] = [*ASSETS, crypto("SOL/USD")]
    await connection.reload()
    assert "SOL/USD" in connection.instruments()
    for answer in (lambda _: web.Response(text="<html>", status=502), []):
        server.answers["GET /v2/assets"] = answer
        with pytest.raises(BrokerError):
            await connection.reload()
        assert "SOL/USD" in connection.instruments()


async def test_a_broken_alpaca_does_not_open(server: RecordingServer, nonces: CountingNonces) -> None:
    """The error is reported; the well-known assets do not hide it."""
    server.answers["GET /v2/assets"] = lambda _: web.Response(text="<html>", status=502)
    with pytest.raises(OutcomeUnknown):
        await connect(Broker.ALPACA, base_url=server.url, nonces=nonces, request_timeout_seconds=2).open()


async def test_a_margin_account_reports_its_margin_and_what_its_positions_have_cost(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The wallet is the equity without unrealized profit. A leverage of 4 holds for a day only, so 2 count."""
    assert isinstance(account, HasMargin)
    server.answers |= {
        ACCOUNT: {"cash": "1000", "equity": "5300", "initial_margin": "2100.5", "multiplier": "4"},
        POSITIONS: [
            {"symbol": "AAPL", "qty": "10", "avg_entry_price": "150", "unrealized_pl": "320"},
            {"symbol": "MSFT", "qty": "4", "avg_entry_price": "300.5", "unrealized_pl": "-20"},
        ],
    }
    facts = MarginFacts(wallet="5000", used="2100.5", most_leverage="2")
    assert await account.margin() == MarginReading(facts=facts, entry_prices={"AAPL": "150", "MSFT": "300.5"})


@pytest.mark.parametrize("multiplier", ["1", "", None])
async def test_a_cash_account_has_no_margin(
    server: RecordingServer, account: BrokerAccount, multiplier: str | None
) -> None:
    """Also when the reply does not say what the account may borrow."""
    assert isinstance(account, HasMargin)
    server.answers |= {ACCOUNT: {"cash": "10", "equity": "10", "multiplier": multiplier}, POSITIONS: []}
    assert await account.margin() is None


async def test_balances_are_cash_and_positions(server: RecordingServer, account: BrokerAccount) -> None:
    """The total includes what open orders hold. Names with a slash, numbers as text and new fields are accepted."""
    server.answers |= {
        ACCOUNT: {"cash": "1000.5", "non_marginable_buying_power": "900.25", "buying_power": "4000", "new": {}},
        POSITIONS: [
            {"symbol": "BTCUSD", "asset_class": "crypto", "qty": "0.5", "qty_available": "0.4", "new": []},
            {"symbol": "ETH/USD", "asset_class": "crypto", "qty": 2},
            {"symbol": "AAPL", "asset_class": "us_equity", "qty": "3.25", "qty_available": "3.25"},
            {"symbol": "BTC", "asset_class": "us_equity", "qty": "7"},
            {"symbol": "NEWUSD", "asset_class": "crypto", "qty": "1.5"},
            {"symbol": "MSFT", "asset_class": "us_equity", "qty": "-4", "side": "short", "qty_available": "-4"},
            {"symbol": "SPY", "asset_class": "us_equity", "qty": "0"},
        ],
    }
    assert await account.balances() == {
        "USD": Balance(free=Decimal("900.25"), total=Decimal("1000.5")),
        "BTC": Balance(free=Decimal("0.4"), total=Decimal("0.5")),
        "ETH": Balance(free=Decimal(2), total=Decimal(2)),
        "AAPL": Balance(free=Decimal("3.25"), total=Decimal("3.25")),
        "BTC.STOCK": Balance(free=Decimal(7), total=Decimal(7)),
        "NEW": Balance(free=Decimal("1.5"), total=Decimal("1.5")),
        "MSFT": Balance(free=Decimal(-4), total=Decimal(-4)),
    }


async def test_an_account_with_nothing_has_no_balances(server: RecordingServer, account: BrokerAccount) -> None:
    """Zero cash is left out. A reply without cash is an error, not an empty account."""
    server.answers |= {ACCOUNT: {"cash": "0"}, POSITIONS: []}
    assert await account.balances() == {}
    for broken in ({}, [], {"cash": None}, {"cash": "much"}):
        server.answers[ACCOUNT] = lambda _, reply=broken: web.json_response(reply)
        with pytest.raises(OutcomeUnknown):
            await account.balances()


async def test_prices_come_from_the_data_endpoints(server: RecordingServer, connection: BrokerConnection) -> None:
    """Coins need no key and stocks need one; each kind takes one request. Numbers keep all digits."""
    server.answers |= {
        COIN_TRADES: lambda _: web.Response(
            text='{"trades":{"BTC/USD":{"p":50000.10000000000000001},"ETH/USD":{"p":3000}}}',
            content_type="application/json",
        ),
        STOCK_TRADES: {"trades": {"AAPL": {"p": 172.4}}},
    }
    connection.account(CREDENTIALS)
    assert await dollar_prices(connection, "USD", "USDC", "BTC", "ETH", "AAPL", "NOTLISTED") == {
        "USD": Decimal(1),
        "USDC": Decimal(1),
        "BTC": Decimal("50000.10000000000000001"),
        "ETH": Decimal(3000),
        "AAPL": Decimal("172.4"),
    }
    (coins,), (stocks,) = server.sent_to(COIN_TRADES), server.sent_to(STOCK_TRADES)
    assert set(coins.query["symbols"].split(",")) == {"BTC/USD", "ETH/USD"}
    assert "APCA-API-KEY-ID" not in coins.headers
    assert stocks.headers["APCA-API-KEY-ID"] == API_KEY


async def test_a_symbol_that_is_refused_hides_no_other(server: RecordingServer, connection: BrokerConnection) -> None:
    """It is found by halves, and left out from then on. A server without prices gives no price and no error."""

    def trades(request: Recorded) -> Any:
        if "BTC/USD" in request.query["symbols"]:
            return error_reply(400, None, "invalid symbol: BTC/USD")
        return {"trades": {"ETH/USD": {"p": 3000}}}

    server.answers[COIN_TRADES] = trades
    assert await connection.price_list(["BTC", "ETH"]) == {"ETH/USD": Decimal(3000)}
    assert len(server.sent_to(COIN_TRADES)) == 3
    assert await connection.price_list(["BTC", "ETH"]) == {"ETH/USD": Decimal(3000)}
    assert len(server.sent_to(COIN_TRADES)) == 4
    server.answers[COIN_TRADES] = lambda _: web.Response(text="404: Not Found", status=404)
    assert await connection.price_list(["ETH"]) == {}
    server.answers[COIN_TRADES] = lambda _: web.Response(text="<html>", status=502)
    with pytest.raises(OutcomeUnknown):
        await connection.price_list(["ETH"])


async def test_a_refused_key_hides_stocks_and_no_coins(server: RecordingServer, connection: BrokerConnection) -> None:
    """Coins need no key."""
    server.answers |= {
        COIN_TRADES: {"trades": {"BTC/USD": {"p": 50000}}},
        STOCK_TRADES: lambda _: error_reply(401, None, "unauthorized."),
    }
    connection.account(CREDENTIALS)
    assert await connection.price_list(["BTC", "AAPL"]) == {"BTC/USD": Decimal(50000)}


async def test_prices_of_stocks_are_requested_again_a_minute_after_a_refusal(
    server: RecordingServer, connection: BrokerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short refusal must not hide stocks until the next start. The same key is used, and coins keep their prices."""
    present_seconds = 1_000.0
    monkeypatch.setattr("shared.brokers.alpaca.connection.monotonic", lambda: present_seconds)
    server.answers |= {
        COIN_TRADES: {"trades": {"BTC/USD": {"p": 50000}}},
        STOCK_TRADES: lambda _: error_reply(401, None, "unauthorized."),
    }
    connection.account(CREDENTIALS)
    coin, share = {"BTC/USD": Decimal(50000)}, {"AAPL/USD": Decimal("172.4")}
    assert await connection.price_list(["BTC", "AAPL"]) == coin
    server.answers[STOCK_TRADES] = {"trades": {"AAPL": {"p": 172.4}}}
    present_seconds += 59
    assert await connection.price_list(["BTC", "AAPL"]) == coin
    assert len(server.sent_to(STOCK_TRADES)) == 1
    present_seconds += 1
    assert await connection.price_list(["BTC", "AAPL"]) == coin | share
    assert [sent.headers["APCA-API-KEY-ID"] for sent in server.sent_to(STOCK_TRADES)] == [API_KEY] * 2


async def test_a_refusal_for_coins_hides_no_stocks(server: RecordingServer, connection: BrokerConnection) -> None:
    """Some servers show coins to key holders only."""
    server.answers |= {
        COIN_TRADES: lambda _: error_reply(401, None, "unauthorized."),
        STOCK_TRADES: {"trades": {"AAPL": {"p": 172.4}}},
    }
    connection.account(CREDENTIALS)
    for _ in range(2):
        assert await connection.price_list(["BTC", "AAPL"]) == {"AAPL/USD": Decimal("172.4")}
    assert len(server.sent_to(COIN_TRADES)) == 1


@pytest.mark.parametrize(
    ("reply", "may_trade"),
    [
        ({"status": "ACTIVE"}, True),
        ({}, True),
        ({"status": "ACTIVE", "trading_blocked": True}, False),
        ({"status": "ACTIVE", "account_blocked": True}, False),
        ({"status": "ACTIVE", "trade_suspended_by_user": True}, False),
        ({"status": "ACCOUNT_CLOSED"}, False),
    ],
)
async def test_every_key_counts_as_one_that_may_withdraw(
    server: RecordingServer, account: BrokerAccount, reply: dict[str, Any], may_trade: bool
) -> None:
    """Alpaca does not report what a key may do, only whether the account may trade."""
    server.answers[ACCOUNT] = reply
    assert await account.key_permissions() == KeyPermissions(may_trade=may_trade, may_withdraw=True)


async def test_an_error_tells_nothing_of_the_account(server: RecordingServer, account: BrokerAccount) -> None:
    """The worst is assumed, and the result says that the permissions are not known."""
    server.answers[ACCOUNT] = lambda _: web.Response(status=502, text="Bad Gateway")
    assert await account.key_permissions() == KeyPermissions(may_trade=True, may_withdraw=True, answered=False)


async def test_a_key_that_does_not_work_is_told_by_the_key_check(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """Any other failure counts as "may withdraw"."""
    server.answers[ACCOUNT] = error_reply(401, 40110000, "request is not authorized")
    with pytest.raises(KeyRefused):
        await account.key_permissions()
    server.answers[ACCOUNT] = lambda _: web.Response(text="<html>", status=500)
    assert (await account.key_permissions()).may_withdraw


async def test_a_key_of_the_wrong_form_is_refused_unsent(server: RecordingServer, connection: BrokerConnection) -> None:
    """The text of such a key would break the headers of the request."""
    broken = CREDENTIALS.model_validate({"api_key": "PK\nInjected: 1", "api_secret": "x"})
    with pytest.raises(KeyRefused):
        await connection.account(broken).balances()
    assert server.requests == []


async def test_nothing_can_be_reached(nonces: CountingNonces) -> None:
    """A broker that cannot be reached is reported at once."""
    with pytest.raises(NotSent):
        await connect(Broker.ALPACA, base_url="http://127.0.0.1:1/v2", nonces=nonces).open()


def test_a_share_with_the_name_of_money_is_not_taken_for_cash() -> None:
    """Otherwise a purchase of Nokia (NOK) would be an exchange of dollars for Norwegian kroner, and never be copied."""
    symbols = AlpacaSymbols([stock("NOK"), stock("AAPL")])
    assert {symbols.symbol(name, "us_equity") for name in ("NOK", "AAPL")} == {"NOK.STOCK/USD", "AAPL/USD"}
    assert symbols.wire_name(Symbol("NOK.STOCK", "USD")) == "NOK"
