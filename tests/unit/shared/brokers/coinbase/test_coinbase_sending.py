"""Tests which request the Coinbase gateway sends for an order, and which orders it does not send."""

from decimal import Decimal
from typing import Any

import pytest

from shared.brokers.errors import Expired, Rejected
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import LimitOrder
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.coinbase.conftest import CLIENT_ID, ORDER_ID, ORDERS, accepted, market_order


async def test_the_order_that_goes_out_says_exactly_what_was_asked(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The order is a market order by base quantity, which ccxt's own call cannot make. The id is nija's, not ccxt's."""
    server.answers[ORDERS] = accepted()
    assert await account.place(market_order("0.10")) == ORDER_ID
    (sent,) = server.requests
    assert (sent.method, sent.path, sent.query) == ("POST", "/api/v3/brokerage/orders", {})
    assert sent.document == {
        "client_order_id": CLIENT_ID,
        "product_id": "BTC-USD",
        "side": "BUY",
        "order_configuration": {"market_market_ioc": {"base_size": "0.1"}},
    }


@pytest.mark.parametrize(
    ("time_in_force", "configuration"),
    [(TimeInForce.GOOD_TIL_CANCELED, "limit_limit_gtc"), (TimeInForce.IMMEDIATE_OR_CANCEL, "sor_limit_ioc")],
)
async def test_a_limit_order_says_its_price_and_how_long_it_may_wait(
    server: RecordingServer, account: BrokerAccount, time_in_force: TimeInForce, configuration: str
) -> None:
    """Both are in the configuration. All other fields are those of a market order."""
    server.answers[ORDERS] = accepted()
    order = LimitOrder(**market_order().model_dump(), limit_price=Decimal("29999.50"), time_in_force=time_in_force)
    assert await account.place(order) == ORDER_ID
    (sent,) = server.requests
    assert sent.document == {
        "client_order_id": CLIENT_ID,
        "product_id": "BTC-USD",
        "side": "BUY",
        "order_configuration": {configuration: {"base_size": "0.1", "limit_price": "29999.5"}},
    }


@pytest.mark.parametrize(
    ("quantity", "wire"),
    [("1E-7", "0.0000001"), ("0.00001000", "0.00001"), ("1E+2", "100"), ("12345678.12345678", "12345678.12345678")],
)
async def test_a_quantity_is_sent_as_plain_text(
    server: RecordingServer, account: BrokerAccount, quantity: str, wire: str
) -> None:
    """The text has no exponent, and the quantity is not a JSON number, which would be read as a binary float."""
    server.answers[ORDERS] = accepted()
    await account.place(market_order(quantity, side=Side.SELL))
    (sent,) = server.requests
    assert sent.document["side"] == "SELL"
    assert sent.document["order_configuration"] == {"market_market_ioc": {"base_size": wire}}


async def test_an_order_whose_validity_is_nearly_over_is_not_sent(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """A token expires at a whole second, which may already be over."""
    with pytest.raises(Expired):
        await account.place(market_order(valid_for_seconds=1.5))
    assert server.requests == []


async def test_an_unlisted_symbol_is_rejected_without_a_request(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The error names the symbol."""
    with pytest.raises(Rejected, match="FOO/USD"):
        await account.place(market_order(symbol="FOO/USD"))
    assert server.requests == []


@pytest.mark.parametrize(
    "reply",
    [{"success": True, "order_id": ORDER_ID}, {"order_id": ORDER_ID}, {"success_response": {"order_id": ORDER_ID}}],
)
async def test_an_order_id_without_a_failure_is_an_order(
    server: RecordingServer, account: BrokerAccount, reply: dict[str, Any]
) -> None:
    """Older replies contain the id at the top level, newer ones in an inner object."""
    server.answers[ORDERS] = reply
    assert await account.place(market_order()) == ORDER_ID
