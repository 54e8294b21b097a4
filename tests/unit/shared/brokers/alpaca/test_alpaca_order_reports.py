"""Tests how the gateway reads the state of one order at Alpaca, with its fee."""

from decimal import Decimal

import pytest

from shared.brokers.errors import OutcomeUnknown
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import OrderStatus
from shared.domain.identity import BrokerOrderId
from shared.domain.symbol import Symbol
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.alpaca.conftest import CREDENTIALS, ORDER, ORDER_ID, order_reply


@pytest.mark.parametrize(
    ("filled_at", "kind", "time_in_force", "fee"),
    [
        ("2024-05-01T10:00:00.9Z", "limit", "gtc", "0.0005"),
        ("2024-05-01T10:07:00Z", "limit", "gtc", "0.0003"),
        ("2024-05-01T10:07:00Z", "limit", "ioc", "0.0005"),
        ("2024-05-01T10:07:00Z", "market", "gtc", "0.0005"),
        (None, "limit", "gtc", "0.0005"),
    ],
)
async def test_the_fee_of_an_order_that_waited_is_a_makers(
    server: RecordingServer, account: BrokerAccount, filled_at: str | None, kind: str, time_in_force: str, fee: str
) -> None:
    """Alpaca reports no fee. A limit order that waited before its execution pays 0.15%, all others 0.25%.

    An immediate order never waits in the book, even if it is executed late.
    """
    server.answers[f"GET {ORDER}"] = order_reply(
        type=kind, filled_at=filled_at, limit_price="50000.5", time_in_force=time_in_force
    )
    report = await account.order(BrokerOrderId(ORDER_ID), "BTC/USD")
    assert (report.fee, report.fee_currency, report.limit_price) == (Decimal(fee), "BTC", Decimal("50000.5"))


async def test_an_order_report_has_the_fee_in_what_was_received(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """Coins pay 0.25%: in the coin for a purchase and in dollars for a sale. Stocks pay nothing."""
    server.answers[f"GET {ORDER}"] = order_reply()
    bought = await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert (bought.status, bought.filled_quantity, bought.cost) == (
        OrderStatus.DONE,
        Decimal("0.2"),
        Decimal("10000.1"),
    )
    assert (bought.fee, bought.fee_currency) == (Decimal("0.0005"), "BTC")
    server.answers[f"GET {ORDER}"] = order_reply(side="sell")
    sold = await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert (sold.fee, sold.fee_currency) == (Decimal("25.00025"), "USD")
    server.answers[f"GET {ORDER}"] = order_reply(symbol="AAPL", asset_class="us_equity")
    stock = await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("AAPL/USD"))
    assert (stock.symbol, stock.fee) == ("AAPL/USD", Decimal(0))


async def test_the_fee_follows_the_tier_that_the_account_tells(
    server: RecordingServer, connection: BrokerConnection
) -> None:
    """The tier applies to that account only, also to a client of the account that is created later."""
    account = connection.account(CREDENTIALS)
    server.answers |= {
        "GET /v2/account": {"cash": "1", "crypto_tier": 3},
        "GET /v2/positions": [],
        f"GET {ORDER}": order_reply(qty="1", filled_qty="1"),
    }
    await account.balances()
    again = await connection.account(CREDENTIALS).order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    assert again.fee == Decimal("0.002")
    other = connection.account(CREDENTIALS.model_copy(update={"api_key": CREDENTIALS.api_secret}))
    assert (await other.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))).fee == Decimal("0.0025")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        *((status, OrderStatus.OPEN) for status in ("new", "accepted", "pending_new", "partially_filled", "held")),
        *((status, OrderStatus.OPEN) for status in ("pending_cancel", "done_for_day", "calculated", "stopped")),
        *((status, OrderStatus.DONE) for status in ("filled", "canceled", "expired", "rejected", "replaced")),
    ],
)
async def test_only_what_cannot_change_any_more_is_final(
    server: RecordingServer, account: BrokerAccount, status: str, expected: OrderStatus
) -> None:
    """All statuses that Alpaca documents are listed."""
    server.answers[f"GET {ORDER}"] = order_reply(status=status)
    assert (await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))).status is expected


async def test_an_unknown_status_and_an_order_that_cannot_be_seen_ask_to_try_again(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """An accepted order is never reported as absent or as something else."""
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
    server.answers[f"GET {ORDER}"] = order_reply(status="quantum")
    with pytest.raises(OutcomeUnknown):
        await account.order(BrokerOrderId(ORDER_ID), Symbol.parse("BTC/USD"))
