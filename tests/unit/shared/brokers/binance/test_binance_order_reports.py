"""Tests how the gateway reads the state of one order at Binance, with its fee."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.orders import LimitOrder, OrderStatus
from shared.domain.instrument import TimeInForce
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.binance.conftest import CLIENT_ID, ORDER_ID, entry, market_order, part, refused, trade


async def test_a_limit_order_that_was_filled_in_part_at_once_is_final_without_a_request(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """The reply to an immediate order contains what was filled, and says that the rest expired."""
    reply = {**entry(status="EXPIRED", type="LIMIT", price="30001.2", executedQty="0.04"), "fills": [part("0.04")]}
    binance.answers["POST order"] = {**reply, "cummulativeQuoteQty": "1200.048"}
    time_in_force = TimeInForce.IMMEDIATE_OR_CANCEL
    order = LimitOrder(**market_order().model_dump(), limit_price=Decimal("29999.50"), time_in_force=time_in_force)
    report = await account.order(await account.place(order), "BTC/USDT")
    assert len(binance.requests) == 1
    assert (report.status, report.quantity, report.filled_quantity) == (
        OrderStatus.DONE,
        Decimal("0.1"),
        Decimal("0.04"),
    )
    assert (report.limit_price, report.cost, report.fee) == (Decimal("30001.2"), Decimal("1200.048"), Decimal("0.0001"))


async def test_the_final_state_in_the_reply_needs_no_further_request(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """The FULL reply has status, fills and fees. A second reading sends a request."""
    binance.answers["POST order"] = entry(fills=[part("0.04", "0.00004"), part("0.06", "0.00006")])
    report = await account.order(await account.place(market_order()), "BTC/USDT")
    assert (report.status, report.filled_quantity, report.cost) == (
        OrderStatus.DONE,
        Decimal("0.1"),
        Decimal("3000.12"),
    )
    assert (report.fee, report.fee_currency, report.client_order_id) == (Decimal("0.0001"), "BTC", CLIENT_ID)
    assert len(binance.requests) == 1
    binance.answers |= {"GET order": entry(), "GET myTrades": [trade()]}
    assert await account.order(ORDER_ID, "BTC/USDT") == report
    assert len(binance.requests) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "PARTIALLY_FILLED", "fills": [part()]},
        {"fills": [part("0.05")]},
        {"fills": []},
        {"fills": [{"price": "?"}]},
        {"status": "UNHEARD_OF", "fills": [part()]},
        {},
    ],
)
async def test_a_reply_that_is_not_final_or_not_whole_is_asked_for_again(
    binance: RecordingServer, account: BinanceAccount, changes: dict[str, Any]
) -> None:
    """The order is placed nevertheless."""
    binance.answers |= {
        "POST order": entry(**changes),
        "GET order": entry(),
        "GET myTrades": [trade()],
    }
    report = await account.order(await account.place(market_order()), "BTC/USDT")
    assert (report.filled_quantity, report.fee) == (Decimal("0.1"), Decimal("0.0001"))
    assert binance.sent_to("GET order")[0].fields["orderId"] == "28"


@pytest.mark.parametrize(
    ("trades", "fee", "currency"),
    [
        ([trade(fee="0.01", asset="BNB")], "0.01", "BNB"),
        ([trade("0.06", "0.01", "BNB"), trade("0.04", "0.00004", "BTC", id=8)], "0.00004", "BTC"),
        ([trade("0.06", "0", "BNB"), trade("0.04", "3", "USDT", id=8)], "3", "USDT"),
        ([trade(fee="0")], "0", "BTC"),
    ],
)
async def test_the_fee_is_told_in_the_currency_that_it_was_taken_in(
    binance: RecordingServer, account: BinanceAccount, trades: list[dict[str, Any]], fee: str, currency: str
) -> None:
    """This is BNB, the coin or dollars. If BNB ran out, the fee in the coin is reported, because positions need it."""
    binance.answers |= {"GET order": entry(), "GET myTrades": trades}
    report = await account.order(ORDER_ID, "BTC/USDT")
    assert (report.fee, report.fee_currency) == (Decimal(fee), currency)
    assert binance.sent_to("GET myTrades")[0].fields["orderId"] == "28"


async def test_trades_that_are_not_all_visible_yet_are_waited_for(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """Without all trades, the fee would be too small. After a minute, the gateway stops waiting."""
    now = int(datetime.now(UTC).timestamp() * 1_000)
    binance.answers |= {"GET order": entry(updateTime=now), "GET myTrades": [trade("0.05")]}
    with pytest.raises(OutcomeUnknown, match="not all trades"):
        await account.order(ORDER_ID, "BTC/USDT")
    binance.answers["GET order"] = entry(updateTime=now - 61_000)
    assert (await account.order(ORDER_ID, "BTC/USDT")).filled_quantity == Decimal("0.1")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("NEW", OrderStatus.OPEN),
        ("PENDING_NEW", OrderStatus.OPEN),
        ("CANCELED", OrderStatus.DONE),
        ("REJECTED", OrderStatus.DONE),
        ("EXPIRED", OrderStatus.DONE),
        ("EXPIRED_IN_MATCH", OrderStatus.DONE),
    ],
)
async def test_each_status_is_open_or_final(
    binance: RecordingServer, account: BinanceAccount, status: str, expected: OrderStatus
) -> None:
    """For an order without executions, no trades are requested."""
    binance.answers["GET order"] = entry(status=status, executedQty="0.0", cummulativeQuoteQty="0.0")
    report = await account.order(ORDER_ID, "BTC/USDT")
    assert (report.status, report.filled_quantity, report.fee) == (expected, Decimal(0), Decimal(0))
    assert binance.sent_to("GET myTrades") == []


async def test_numbers_may_come_as_numbers_and_fields_may_be_missing_or_new(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """Other servers and recorded replies do so. -1 is Binance's value for a cost that is no longer known."""
    minimal = {
        "symbol": "BTCUSDT",
        "orderId": "28",
        "executedQty": 0.1,
        "cummulativeQuoteQty": "-1.0",
        "status": "FILLED",
        "side": "BUY",
        "new": {"field": []},
    }
    binance.answers |= {"GET order": minimal, "GET myTrades": [trade(price=30001.2, qty=0.1)]}
    report = await account.order(ORDER_ID, "BTC/USDT")
    assert (report.quantity, report.cost, report.client_order_id) == (Decimal("0.1"), Decimal("3000.12"), None)


@pytest.mark.parametrize("answer", [refused(-2013, "Order does not exist."), [], {}, {"orderId": 28}, "text"])
async def test_an_order_that_cannot_be_read_is_asked_for_later(
    binance: RecordingServer, account: BinanceAccount, answer: Any
) -> None:
    """Binance may confirm an order before its database contains it."""
    binance.answers["GET order"] = answer
    with pytest.raises(OutcomeUnknown):
        await account.order(ORDER_ID, "BTC/USDT")
