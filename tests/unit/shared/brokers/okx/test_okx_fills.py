"""Tests that the gateway reads all fills of an account at OKX and at compatible servers."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.okx.conftest import (
    FILLS,
    OPENED_MS,
    ORDER,
    ORDER_ID,
    SINCE,
    fill_entry,
    order_entry,
    pages,
)


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
        "executed_at": "2021-03-25T09:44:56.134000Z",
    }


async def test_a_reading_of_fills_asks_for_nothing_else(server: RecordingServer, account: BrokerAccount) -> None:
    """A fill is published as soon as it is seen. Its order is not requested."""
    server.answers |= {FILLS: pages([fill_entry(1), fill_entry(2)], 100)}
    for _ in range(3):
        await account.fills_since(SINCE)
    assert {request.path for request in server.requests} == {"/api/v5/trade/fills-history"}


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
