"""Tests how the gateway reads markets, orders, fills, balances, permissions and prices of OKX and compatible
servers.
"""

import gc
import tracemalloc
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from time import process_time
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.brokers.errors import KeyRefused, OutcomeUnknown, RateLimited, Rejected
from shared.brokers.port.account import BrokerAccount, KeyPermissions
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import OrderStatus
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.accounts.equity import Balance
from shared.domain.fees import FeeRates
from shared.domain.fill import Side, SizeType
from shared.domain.identity import Broker, BrokerOrderId
from tests.support.recording_server import Recorded, RecordingServer
from tests.unit.shared.brokers.conftest import CountingNonces
from tests.unit.shared.brokers.okx.conftest import CREDENTIALS, refused

ORDER_ID = "1500000000000000001"
CLIENT_ID = "0123456789abcdef0123456789abcdef"
OPENED_MS = 1_616_665_496_133
SINCE = datetime.fromtimestamp(OPENED_MS / 1000 - 60, UTC)
ORDER, FILLS = "trade/order", "trade/fills-history"


def order_entry(**changes: Any) -> dict[str, Any]:
    return {
        "instType": "SPOT",
        "instId": "BTC-USDT",
        "ordId": ORDER_ID,
        "clOrdId": CLIENT_ID,
        "side": "buy",
        "ordType": "market",
        "tgtCcy": "base_ccy",
        "sz": "0.1",
        "accFillSz": "0.1",
        "avgPx": "30001.2",
        "state": "filled",
        "fee": "-0.00015",
        "feeCcy": "BTC",
        "cTime": str(OPENED_MS),
        **changes,
    }


def fill_entry(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "instType": "SPOT",
        "instId": "BTC-USDT",
        "tradeId": str(number),
        "ordId": ORDER_ID,
        "clOrdId": CLIENT_ID,
        "billId": str(1_600_000_000_000_000_000 + number),
        "fillPx": "30001.2",
        "fillSz": "0.1",
        "side": "buy",
        "feeCcy": "BTC",
        "fee": "-0.00015",
        "ts": str(OPENED_MS + number),
        **changes,
    }


def pages(entries: list[dict[str, Any]], size: int) -> Any:
    """Answer fills-history as OKX does: newest first, and only entries with a billId below `after`."""

    def answer(request: Recorded) -> list[dict[str, Any]]:
        after = int(request.query.get("after", 1 << 62))
        older = [entry for entry in entries if int(entry["billId"]) < after]
        return sorted(older, key=lambda entry: -int(entry["billId"]))[:size]

    return answer


async def test_an_order_is_read_as_okx_tells_it(server: RecordingServer, account: BrokerAccount) -> None:
    """All fields are read. OKX writes a fee as a negative number, in the currency that was received."""
    server.answers[ORDER] = [order_entry()]
    report = await account.order(BrokerOrderId(ORDER_ID), "BTC/USDT")
    assert server.requests[0].query == {"instId": "BTC-USDT", "ordId": ORDER_ID}
    assert report.model_dump() == {
        "broker_order_id": ORDER_ID,
        "client_order_id": CLIENT_ID,
        "symbol": "BTC/USDT",
        "side": Side.BUY,
        "status": OrderStatus.DONE,
        "quantity": "0.1",
        "limit_price": None,
        "filled_quantity": "0.1",
        "cost": "3000.12",
        "fee": "0.00015",
        "fee_currency": "BTC",
        "reason": "",
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"state": "live", "accFillSz": "", "avgPx": ""},
            {"status": OrderStatus.OPEN, "filled_quantity": "0", "cost": "0"},
        ),
        ({"state": "partially_filled", "accFillSz": "0.04"}, {"status": OrderStatus.OPEN, "filled_quantity": "0.04"}),
        (
            {"state": "canceled", "cancelSource": "1", "cancelSourceReason": "User requested"},
            {"status": OrderStatus.DONE, "reason": "User requested"},
        ),
        ({"state": "canceled", "cancelSource": "1"}, {"reason": "1"}),
        ({"state": "mmp_canceled"}, {"status": OrderStatus.DONE}),
        ({"side": "sell", "fee": "-4.5", "feeCcy": "USDT"}, {"fee": "4.5", "fee_currency": "USDT"}),
        ({"fee": "0.3", "feeCcy": "USDT"}, {"fee": "-0.3", "fee_currency": "USDT"}),
        ({"fee": None, "feeCcy": None}, {"fee": "0", "fee_currency": "BTC"}),
        ({"side": "sell", "feeCcy": ""}, {"fee_currency": "USDT"}),
        ({"tgtCcy": "quote_ccy", "sz": "3000"}, {"quantity": "0.1"}),
        ({"tgtCcy": "quote_ccy", "ordType": "limit"}, {"quantity": "0.1"}),
        ({"tgtCcy": None}, {"quantity": "0.1"}),
        ({"clOrdId": ""}, {"client_order_id": None}),
        ({"ordId": 1500000000000000001}, {"broker_order_id": ORDER_ID}),
        ({"instId": "DEAD-USDT"}, {"symbol": "DEAD/USDT"}),
        ({"sz": 0.1, "accFillSz": 0.1, "avgPx": 30001.2, "fee": -0.5}, {"quantity": "0.1", "cost": "3000.12"}),
        # The average price is cut off. Rounded to whole lots and ticks, the cost is exact.
        ({"accFillSz": "0.00000003", "avgPx": "30001.2333333333333333"}, {"cost": "0.000900037"}),
    ],
)
async def test_orders_of_every_kind_are_read(
    server: RecordingServer, account: BrokerAccount, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    """This covers statuses, rebates, orders by cost, missing fields, delisted pairs, and numbers instead of text."""
    server.answers[ORDER] = [order_entry(**changes)]
    report = (await account.order(BrokerOrderId(ORDER_ID), "BTC/USDT")).model_dump()
    assert {name: report[name] for name in expected} == expected


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [{}],
        ["order"],
        [order_entry(state="strange")],
        [order_entry(sz="much")],
        [order_entry(ordId="")],
        refused("51603", "Order does not exist"),
        refused("51001"),
    ],
)
async def test_an_order_that_cannot_be_read_yet_is_asked_again(
    server: RecordingServer, account: BrokerAccount, answer: Any
) -> None:
    """A "not found" right after the order proves nothing. An unreadable reply is not guessed."""
    server.answers[ORDER] = answer
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), "BTC/USDT")


@pytest.mark.parametrize("state", ["live", "filled", "canceled"])
async def test_a_look_up_asks_by_our_id(server: RecordingServer, account: BrokerAccount, state: str) -> None:
    """One request finds open and closed orders."""
    server.answers[ORDER] = [order_entry(state=state)]
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID
    (sent,) = server.requests
    assert sent.query == {"instId": "BTC-USDT", "clOrdId": CLIENT_ID}


async def test_a_look_up_that_finds_no_order_asks_the_fills(server: RecordingServer, account: BrokerAccount) -> None:
    """A fill with nija's id leads to its order. Fills of other pairs or with other ids do not."""

    def order(request: Recorded) -> Any:
        return refused("51603") if "clOrdId" in request.query else [order_entry()]

    other = [fill_entry(2, clOrdId="f" * 32, ordId="2"), fill_entry(3, instId="ETH-USDT", ordId="3")]
    server.answers |= {ORDER: order, FILLS: pages([fill_entry(), *other], 100)}
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID
    assert [request.query.get("ordId") for request in server.sent_to(ORDER)] == [None, ORDER_ID]
    assert server.sent_to(FILLS)[0].query["instId"] == "BTC-USDT"


async def test_fills_without_our_id_are_told_by_their_orders(server: RecordingServer, account: BrokerAccount) -> None:
    """A server whose fills do not repeat the id must not cause a second order."""

    def order(request: Recorded) -> Any:
        return refused("51603") if "clOrdId" in request.query else [order_entry()]

    server.answers |= {ORDER: order, FILLS: pages([fill_entry(clOrdId="")], 100)}
    report = await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)
    assert report is not None
    assert report.broker_order_id == ORDER_ID


@pytest.mark.parametrize("absent", [refused("51603"), []])
async def test_a_look_up_that_finds_nothing_has_asked_orders_and_fills(
    server: RecordingServer, account: BrokerAccount, absent: Any
) -> None:
    """The result is None only if the order is in neither of them."""
    server.answers |= {ORDER: absent, FILLS: []}
    assert await account.look_up(CLIENT_ID, "BTC/USDT", SINCE) is None
    assert [request.path.removeprefix("/api/v5/") for request in server.requests] == [ORDER, FILLS]


@pytest.mark.parametrize("silent", [ORDER, FILLS])
@pytest.mark.parametrize("code", ["50001", "51001", "404"])
async def test_a_look_up_is_no_answer_unless_both_answered(
    server: RecordingServer, account: BrokerAccount, silent: str, code: str
) -> None:
    """If one of them fails, with any code, the result is an error and not "absent"."""
    server.answers |= {ORDER: refused("51603"), FILLS: []}
    server.answers[silent] = refused(code)
    with pytest.raises((OutcomeUnknown, Rejected)):
        await account.look_up(CLIENT_ID, "BTC/USDT", SINCE)


@pytest.mark.parametrize(
    ("changes", "is_ours"),
    [
        ({"clOrdId": ""}, True),
        ({"clOrdId": None}, True),
        ({"clOrdId": "", "cTime": str(OPENED_MS - 600_000)}, False),
        ({"clOrdId": "", "instId": "ETH-USDT"}, False),
        ({"clOrdId": "f" * 32}, False),
    ],
)
async def test_an_order_that_does_not_repeat_the_id_is_ours_only_if_all_else_fits(
    server: RecordingServer, account: BrokerAccount, changes: dict[str, Any], is_ours: bool
) -> None:
    """The search was by id. Older orders, other pairs and other ids do not match."""
    server.answers |= {ORDER: [order_entry(**changes)], FILLS: []}
    assert (await account.look_up(CLIENT_ID, "BTC/USDT", SINCE) is not None) is is_ours


@pytest.mark.parametrize("page_size", [1, 2, 100])
async def test_fills_are_read_to_the_last_page(server: RecordingServer, account: BrokerAccount, page_size: int) -> None:
    """Fills are returned oldest first and once, for any page size. The cursor is the billId."""
    entries = [fill_entry(number) for number in range(1, 6)]
    server.answers |= {FILLS: pages(entries, page_size), ORDER: [order_entry()]}
    fills = await account.fills_since(SINCE)
    assert [fill.fill_id for fill in fills] == [entry["billId"] for entry in entries]
    first = server.sent_to(FILLS)[0].query
    assert first == {"instType": "SPOT", "begin": str(OPENED_MS - 60_001), "limit": "100"}


async def test_a_fill_is_read_exactly(server: RecordingServer, account: BrokerAccount) -> None:
    """The cost is price × quantity. The fee is in the received currency, and its sign is inverted."""
    server.answers |= {FILLS: pages([fill_entry()], 100), ORDER: [order_entry(tgtCcy="quote_ccy")]}
    (fill,) = await account.fills_since(SINCE)
    assert fill.model_dump(mode="json") == {
        "fill_id": "1600000000000000001",
        "order_id": ORDER_ID,
        "symbol": "BTC/USDT",
        "side": "buy",
        "price": "30001.2",
        "quantity": "0.1",
        "cost": "3000.12",
        "fee": "0.00015",
        "fee_currency": "BTC",
        "size_type": "quote",
        "executed_at": "2021-03-25T09:44:56.134000Z",
    }


async def test_how_an_order_named_its_size_is_asked_once(server: RecordingServer, account: BrokerAccount) -> None:
    """The fills of a master are read again, with overlap, at every poll."""
    server.answers |= {FILLS: pages([fill_entry(1), fill_entry(2)], 100), ORDER: [order_entry()]}
    for _ in range(3):
        await account.fills_since(SINCE)
    assert len(server.sent_to(ORDER)) == 1


async def test_an_order_that_cannot_be_read_does_not_hold_up_its_fills(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """Such fills count as sized in the base currency."""
    server.answers |= {FILLS: pages([fill_entry()], 100), ORDER: refused("50011", status=429)}
    (fill,) = await account.fills_since(SINCE)
    assert fill.size_type is SizeType.BASE


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"fillPx": 30001.2, "fillSz": 1, "fee": 0, "ts": OPENED_MS + 1}, {"quantity": "1", "fee": "0"}),
        ({"ts": "", "fillTime": str(OPENED_MS)}, {"quantity": "0.1"}),
        ({"billId": ""}, {"fill_id": "BTC-USDT-1"}),
        ({"feeCcy": "", "side": "sell"}, {"fee_currency": "USDT"}),
        ({"fee": "0.01", "feeCcy": "USDT"}, {"fee": "-0.01"}),
        ({"instId": "DEAD-USDC", "surprise": {}}, {"symbol": "DEAD/USDC"}),
    ],
)
async def test_fills_of_other_servers_are_read(
    server: RecordingServer, account: BrokerAccount, changes: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Numbers may replace text, fields may be missing or unknown, and a fee may be a rebate."""
    served = [[fill_entry(**changes)], []]
    server.answers |= {FILLS: lambda _: served.pop(0), ORDER: [order_entry()]}
    (fill,) = await account.fills_since(SINCE)
    shown = fill.model_dump(mode="json")
    assert {name: shown[name] for name in expected} == expected


@pytest.mark.parametrize(
    "entry", ["fill", {}, fill_entry(ordId=None), fill_entry(ts="soon"), fill_entry(fillSz="x"), fill_entry(instId=7)]
)
async def test_a_fill_that_cannot_be_read_is_not_skipped(
    server: RecordingServer, account: BrokerAccount, entry: Any
) -> None:
    """The poll fails and is repeated, because a fill that is left out would never be copied."""
    served = [[entry], []]
    server.answers |= {FILLS: lambda _: served.pop(0), ORDER: [order_entry()]}
    with pytest.raises(OutcomeUnknown):
        await account.fills_since(SINCE)


async def test_fills_from_before_are_left_out(server: RecordingServer, account: BrokerAccount) -> None:
    """`begin` is sent a millisecond earlier, and a server may ignore it."""
    entries = [fill_entry(1, ts=str(OPENED_MS - 60_001)), fill_entry(2, ts=str(OPENED_MS - 60_000)), fill_entry(3)]
    server.answers |= {FILLS: pages(entries, 100), ORDER: [order_entry()]}
    since = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=OPENED_MS - 60_000)
    assert [fill.fill_id[-1] for fill in await account.fills_since(since)] == ["2", "3"]


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
    ("data", "may_trade", "may_withdraw", "told"),
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
    server: RecordingServer, account: BrokerAccount, data: Any, may_trade: bool, may_withdraw: bool, told: bool
) -> None:
    """The field may be missing, the request may fail (then `told` is False), or the key may not read this."""
    server.answers["account/config"] = data
    expected = KeyPermissions(may_trade=may_trade, may_withdraw=may_withdraw, told=told)
    assert await account.key_permissions() == expected


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


async def test_one_coins_price_is_one_ticker(server: RecordingServer, connection: BrokerConnection) -> None:
    """Each kind of dollar is worth one dollar. An unlisted coin has no price."""
    server.answers["market/ticker"] = [{"instId": "BTC-USDT", "last": "50000.5"}]
    prices = await connection.prices({"BTC", "USD", "USDT", "USDC", "NOPE"})
    assert prices == {"BTC": Decimal("50000.5"), "USD": Decimal(1), "USDT": Decimal(1), "USDC": Decimal(1)}
    (sent,) = server.requests
    assert sent.query == {"instId": "BTC-USDT"}


async def test_many_coins_prices_are_one_request(server: RecordingServer, connection: BrokerConnection) -> None:
    """One request reads all tickers. A pair that never traded has no price. USDC is used where USDT is missing."""
    server.answers["market/tickers"] = [
        {"instId": "BTC-USDT", "last": 50000},
        {"instId": "ETH-USDT", "last": ""},
        {"instId": "SOL-USDC", "last": "150"},
        {"instId": "SOL-USDT", "last": "0"},
    ]
    prices = await connection.prices({"BTC", "ETH", "SOL"})
    assert prices == {"BTC": Decimal(50000), "SOL": Decimal(150)}
    assert [request.query for request in server.requests] == [{"instType": "SPOT"}]


async def test_a_pair_that_is_no_longer_listed_has_no_price(
    server: RecordingServer, connection: BrokerConnection
) -> None:
    """OKX refuses the request for such a pair."""
    server.answers["market/ticker"] = refused("51001")
    assert await connection.prices({"BTC"}) == {}


async def test_no_prices_are_asked_for_without_coins(server: RecordingServer, connection: BrokerConnection) -> None:
    """Cash needs no price."""
    assert await connection.prices({"USDT"}) == {"USDT": Decimal(1)}
    assert server.requests == []


@pytest.mark.parametrize("answer", [["x"], [{"last": "1"}], refused("50026", status=500)])
async def test_tickers_that_cannot_be_read_are_an_error(
    server: RecordingServer, connection: BrokerConnection, answer: Any
) -> None:
    """The coins are not valued at zero."""
    server.answers["market/tickers"] = answer
    with pytest.raises(OutcomeUnknown):
        await connection.prices({"BTC", "ETH"})


def keys(number: int) -> Credentials:
    return CREDENTIALS.model_copy(update={"api_key": SecretStr(f"key-{number}")})


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


async def test_open_orders_are_read_whatever_their_instrument(server: RecordingServer, account: BrokerAccount) -> None:
    """Pages are read from the id of the last order on, until a page contains no new order."""
    open_order = order_entry(ordType="limit", tgtCcy="", state="live", accFillSz="0", avgPx="", fee="0", feeCcy="")
    pages = {
        None: [{**open_order, "ordId": "30"}, {**open_order, "ordId": "20", "state": "partially_filled"}],
        "20": [{**open_order, "ordId": "10", "instId": "OLD-USDT", "clOrdId": ""}],
        "10": [],
    }
    server.answers["trade/orders-pending"] = lambda request: pages[request.fields.get("after")]
    first, second, third = await account.open_orders()
    assert [order.broker_order_id for order in (first, second, third)] == ["30", "20", "10"]
    assert (first.client_order_id, first.symbol, first.quantity) == (CLIENT_ID, "BTC/USDT", Decimal("0.1"))
    assert (third.client_order_id, third.symbol) == (None, "OLD/USDT")
    assert {order.status for order in (first, second, third)} == {OrderStatus.OPEN}


async def test_open_orders_that_cannot_be_read_are_not_left_out(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The caller must not conclude that an order is gone."""
    server.answers["trade/orders-pending"] = [order_entry(state="thinking")]
    with pytest.raises(OutcomeUnknown):
        await account.open_orders()
