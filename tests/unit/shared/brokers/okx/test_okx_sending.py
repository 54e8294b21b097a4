"""Tests which request the OKX gateway sends for an order, and which orders it does not send."""

from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import Expired, Rejected
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import LimitOrder
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.okx.conftest import CLIENT_ID, ORDER_ID, PLACE, market_order, placed


@pytest.mark.parametrize("side", list(Side))
async def test_the_order_that_goes_out_says_exactly_what_was_asked(
    server: RecordingServer, account: BrokerAccount, side: Side
) -> None:
    """The body is a list of one order: base quantity as text, nija's id, and a ban on reducing the quantity."""
    server.answers[PLACE] = placed()
    assert await account.place(market_order("0.10", side=side)) == ORDER_ID
    (sent,) = server.requests
    assert (sent.method, sent.path) == ("POST", f"/api/v5/{PLACE}")
    assert sent.document == [
        {
            "instId": "BTC-USDT",
            "tdMode": "cash",
            "side": side.value,
            "ordType": "market",
            "sz": "0.1",
            "tgtCcy": "base_ccy",
            "clOrdId": CLIENT_ID,
            "banAmend": True,
        }
    ]


@pytest.mark.parametrize(
    ("time_in_force", "wire"),
    [(TimeInForce.GOOD_TIL_CANCELED, "limit"), (TimeInForce.IMMEDIATE_OR_CANCEL, "ioc")],
)
async def test_a_limit_order_says_its_price_and_how_long_it_may_wait(
    server: RecordingServer, account: BrokerAccount, time_in_force: TimeInForce, wire: str
) -> None:
    """The size of a limit order is always in the base currency, and OKX does not reduce it."""
    server.answers[PLACE] = placed()
    order = LimitOrder(**market_order().model_dump(), limit_price=Decimal("29999.50"), time_in_force=time_in_force)
    assert await account.place(order) == ORDER_ID
    (sent,) = server.requests
    assert sent.document == [
        {
            "instId": "BTC-USDT",
            "tdMode": "cash",
            "side": "buy",
            "ordType": wire,
            "px": "29999.5",
            "sz": "0.1",
            "clOrdId": CLIENT_ID,
        }
    ]


async def test_the_expiry_is_a_header_in_milliseconds(server: RecordingServer, account: BrokerAccount) -> None:
    """`expTime` is not later than the validity of the order. It is not in the body, where OKX would refuse it."""
    server.answers[PLACE] = placed()
    order = market_order()
    await account.place(order)
    (sent,) = server.requests
    expires_at = int(sent.headers["expTime"])
    assert 0 <= order.valid_until.timestamp() * 1000 - expires_at < 1
    assert "expTime" not in sent.body


async def test_reads_carry_no_expiry(server: RecordingServer, account: BrokerAccount) -> None:
    """This also holds after an order of the same account that had an expiry."""
    server.answers |= {PLACE: placed(), "account/balance": []}
    await account.place(market_order())
    await account.balances()
    assert "expTime" not in server.requests[-1].headers


@pytest.mark.parametrize(
    ("quantity", "wire"),
    [("1E-7", "0.0000001"), ("0.00001000", "0.00001"), ("1E+2", "100"), ("12345678.12345678", "12345678.12345678")],
)
async def test_a_quantity_is_sent_as_plain_text(
    server: RecordingServer, account: BrokerAccount, quantity: str, wire: str
) -> None:
    """The text has no exponent and is exact. No Decimal reaches ccxt."""
    server.answers[PLACE] = placed()
    await account.place(market_order(quantity))
    assert server.requests[0].document[0]["sz"] == wire


@pytest.mark.parametrize("valid_for_seconds", [-1, 0.1])
async def test_an_order_whose_validity_is_over_is_not_sent(
    server: RecordingServer, account: BrokerAccount, valid_for_seconds: float
) -> None:
    """This includes an order whose validity is nearly over."""
    with pytest.raises(Expired):
        await account.place(market_order(valid_for_seconds=valid_for_seconds))
    assert server.requests == []


async def test_an_unlisted_symbol_is_rejected_without_a_request(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The error names the symbol. A pair that is only announced counts as unlisted."""
    for symbol in ("FOO/USDT", "NEW/USDT"):
        with pytest.raises(Rejected, match=symbol):
            await account.place(market_order(symbol=symbol))
    assert server.requests == []


@pytest.mark.parametrize("reply", [placed(7), placed(sCode=0), [{"ordId": ORDER_ID}], placed(extra=[1])])
async def test_what_is_not_needed_may_be_missing_or_of_another_type(
    server: RecordingServer, account: BrokerAccount, reply: list[dict[str, Any]]
) -> None:
    """An id or code may be a number, the code of the order may be missing, and unknown fields are ignored."""
    server.answers[PLACE] = reply
    assert await account.place(market_order()) == str(reply[0]["ordId"])
