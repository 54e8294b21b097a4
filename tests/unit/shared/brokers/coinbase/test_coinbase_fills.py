"""Tests that the gateway reads all fills of an account at Coinbase."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.domain.fill import Side
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.coinbase.conftest import FILLS

EXECUTED = datetime(2023, 1, 18, 1, 37, 38, 91377, tzinfo=UTC)


def fill(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "entry_id": f"entry-{number}",
        "trade_id": f"trade-{number}",
        "order_id": "an-order",
        "trade_time": "2023-01-18T01:37:38.091377090Z",
        "trade_type": "FILL",
        "price": "21220.64",
        "size": "0.5",
        "commission": "63.66",
        "product_id": "BTC-USD",
        "size_in_quote": False,
        "side": "SELL",
        **changes,
    }


async def test_fills_are_every_execution_since_then_in_order(server: RecordingServer, account: BrokerAccount) -> None:
    """All products and pages are read, each fill counts once, and corrections are left out. The start overlaps."""
    older = fill(1, trade_time="2023-01-18T01:37:37Z")
    newer = fill(3, trade_time="2023-01-18T01:37:39Z", product_id="ETH-USD", side="BUY")
    pages = {
        None: {"fills": [newer, fill(2), fill(9, trade_type="REVERSAL")], "cursor": "789"},
        "789": {"fills": [fill(2), older], "cursor": ""},
    }
    server.answers[FILLS] = lambda request: pages[dict(request.query).get("cursor")]
    found = await account.fills_since(EXECUTED)
    assert [each.fill_id for each in found] == ["entry-2", "entry-3"]
    first, last = found
    assert (first.symbol, first.side) == ("BTC/USD", Side.SELL)
    assert (first.price, first.quantity, first.cost) == (Decimal("21220.64"), Decimal("0.5"), Decimal("10610.32"))
    assert (first.fee, first.fee_currency, first.executed_at) == (Decimal("63.66"), "USD", EXECUTED)
    assert (last.symbol, last.side) == ("ETH/USD", Side.BUY)
    assert dict(server.requests[0].query) == {
        "start_sequence_timestamp": "2023-01-18T01:37:36.091Z",
        "limit": "250",
    }


async def test_a_fill_sized_in_quote_currency_is_told_in_base(server: RecordingServer, account: BrokerAccount) -> None:
    """The size is the cost, and the quantity is size ÷ price with sixteen decimals, as at Coinbase."""
    server.answers[FILLS] = {"fills": [fill(size="100", price="40000", size_in_quote=True, side="BUY")]}
    (found,) = await account.fills_since(EXECUTED - timedelta(seconds=1))
    assert (found.quantity, found.cost) == (Decimal("0.0025"), Decimal(100))


async def test_a_fill_of_a_product_that_is_no_longer_listed_keeps_its_name(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The product name is split at the dash. Without an entry id, the fill has the trade id."""
    server.answers[FILLS] = {"fills": [fill(product_id="GONE-EUR", entry_id=None)]}
    (found,) = await account.fills_since(EXECUTED)
    assert (found.fill_id, found.symbol, found.fee_currency) == ("trade-1", "GONE/EUR", "EUR")


@pytest.mark.parametrize("changes", [{"price": "x"}, {"size": None}, {"trade_time": "soon"}, {"side": "HOLD"}])
async def test_a_fill_that_cannot_be_read_is_not_skipped(
    server: RecordingServer, account: BrokerAccount, changes: dict[str, Any]
) -> None:
    """Leaving out a fill would lose an execution of the master."""
    server.answers[FILLS] = {"fills": [fill(1), fill(2, **changes)]}
    with pytest.raises(OutcomeUnknown):
        await account.fills_since(EXECUTED)
