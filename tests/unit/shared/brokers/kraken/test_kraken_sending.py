"""Tests which request the Kraken gateway sends for an order, and which orders it does not send."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from shared.brokers.errors import Expired, Rejected
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.orders import LimitOrder
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.kraken.conftest import CLIENT_ID, ORDER_ID, market_order


async def test_the_order_that_goes_out_says_exactly_what_was_asked(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """The body has exactly these fields. The quantity is text in the base currency, and the id is cl_ord_id."""
    server.answers["AddOrder"] = {"descr": {"order": "buy 0.1 XBTUSD @ market"}, "txid": [ORDER_ID]}
    order = market_order("0.10", side=Side.SELL)
    assert await account.place(order) == ORDER_ID
    (sent,) = server.sent_to("AddOrder")
    deadline = order.valid_until.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    nonce = sent.fields.pop("nonce")
    assert int(nonce) > 1_700_000_000_000_000
    assert sent.fields == {
        "pair": "XXBTZUSD",
        "type": "sell",
        "ordertype": "market",
        "volume": "0.1",
        "cl_ord_id": CLIENT_ID,
        "oflags": "fciq",
        "deadline": deadline,
    }


@pytest.mark.parametrize(
    ("time_in_force", "wire"),
    [(TimeInForce.GOOD_TIL_CANCELED, "GTC"), (TimeInForce.IMMEDIATE_OR_CANCEL, "IOC")],
)
async def test_a_limit_order_says_its_price_and_how_long_it_may_wait(
    server: RecordingServer, account: BrokerAccount, time_in_force: TimeInForce, wire: str
) -> None:
    """All other fields are those of a market order, with the same id and deadline."""
    server.answers["AddOrder"] = {"txid": [ORDER_ID]}
    order = LimitOrder(**market_order().model_dump(), limit_price=Decimal("29999.50"), time_in_force=time_in_force)
    assert await account.place(order) == ORDER_ID
    (sent,) = server.sent_to("AddOrder")
    assert {name: value for name, value in sent.fields.items() if name not in ("nonce", "deadline")} == {
        "pair": "XXBTZUSD",
        "type": "buy",
        "ordertype": "limit",
        "price": "29999.5",
        "timeinforce": wire,
        "volume": "0.1",
        "cl_ord_id": CLIENT_ID,
        "oflags": "fciq",
    }
    assert sent.fields["deadline"] == order.valid_until.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize(
    ("quantity", "wire"),
    [("1E-7", "0.0000001"), ("0.00001000", "0.00001"), ("1E+2", "100"), ("12345678.12345678", "12345678.12345678")],
)
async def test_a_quantity_is_sent_as_plain_text(
    server: RecordingServer, account: BrokerAccount, quantity: str, wire: str
) -> None:
    """No exponent or binary float reaches Kraken. No Decimal reaches ccxt, which would read it as a cost."""
    server.answers["AddOrder"] = {"txid": [ORDER_ID]}
    await account.place(market_order(quantity))
    assert server.sent_to("AddOrder")[0].fields["volume"] == wire


async def test_the_deadline_is_never_later_than_kraken_takes(server: RecordingServer, account: BrokerAccount) -> None:
    """Kraken accepts up to 60 s. A validity of ten minutes is sent as less, so the order expires earlier."""
    server.answers["AddOrder"] = {"txid": [ORDER_ID]}
    await account.place(market_order(valid_for_seconds=600))
    deadline = datetime.fromisoformat(server.sent_to("AddOrder")[0].fields["deadline"])
    assert deadline < datetime.now(UTC) + timedelta(seconds=60)


async def test_an_order_whose_validity_is_nearly_over_is_not_sent(
    server: RecordingServer, account: BrokerAccount
) -> None:
    """Kraken accepts no deadline nearer than 2 s, so nothing is sent."""
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
