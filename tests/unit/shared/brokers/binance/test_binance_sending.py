"""Tests which request the Binance gateway sends for an order, and which orders it does not send."""

import hashlib
import hmac
from decimal import Decimal

import pytest

from shared.brokers.binance.account import BinanceAccount
from shared.brokers.errors import Expired, Rejected
from shared.brokers.port.orders import LimitOrder, MarketOrder
from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from tests.support.recording_server import RecordingServer
from tests.unit.shared.brokers.binance.conftest import API_KEY, API_SECRET, CLIENT_ID, ORDER_ID, market_order


async def test_the_order_that_goes_out_says_exactly_what_was_asked(
    binance: RecordingServer, account: BinanceAccount
) -> None:
    """The quantity is text in the base currency, and nija's id is newClientOrderId.

    A price is not sent, because ccxt would turn it into a cost. The window ends with the validity.
    """
    binance.answers["POST order"] = {"orderId": 28}
    order = market_order("0.10", side=Side.SELL)
    assert await account.place(order) == ORDER_ID
    (sent,) = binance.requests
    assert (sent.method, sent.path, sent.query_string) == ("POST", "/api/v3/order", "")
    assert sent.headers["X-MBX-APIKEY"] == API_KEY
    payload, _, signature = sent.body.rpartition("&signature=")
    assert signature == hmac.new(API_SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest()
    expires = int(sent.fields.pop("timestamp")) + int(sent.fields.pop("recvWindow"))
    valid_until = order.valid_until.timestamp() * 1_000
    assert valid_until - 2 <= expires <= valid_until
    del sent.fields["signature"]
    assert sent.fields == {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "MARKET",
        "quantity": "0.1",
        "newClientOrderId": CLIENT_ID,
        "newOrderRespType": "FULL",
    }


@pytest.mark.parametrize(
    ("time_in_force", "wire"),
    [(TimeInForce.GOOD_TIL_CANCELED, "GTC"), (TimeInForce.IMMEDIATE_OR_CANCEL, "IOC")],
)
async def test_a_limit_order_says_its_price_and_how_long_it_may_wait(
    binance: RecordingServer, account: BinanceAccount, time_in_force: TimeInForce, wire: str
) -> None:
    """All other fields are those of a market order, with the same id and window."""
    binance.answers["POST order"] = {"orderId": 28}
    order = LimitOrder(**market_order().model_dump(), limit_price=Decimal("29999.50"), time_in_force=time_in_force)
    assert await account.place(order) == ORDER_ID
    (sent,) = binance.requests
    own = ("timestamp", "recvWindow", "signature")
    assert {name: value for name, value in sent.fields.items() if name not in own} == {
        "symbol": "BTCUSDT",
        "side": "BUY",
        "type": "LIMIT",
        "price": "29999.5",
        "timeInForce": wire,
        "quantity": "0.1",
        "newClientOrderId": CLIENT_ID,
        "newOrderRespType": "FULL",
    }


@pytest.mark.parametrize(("quantity", "wire"), [("1E-7", "0.0000001"), ("0.00001000", "0.00001"), ("1E+2", "100")])
async def test_a_quantity_is_sent_as_plain_text(
    binance: RecordingServer, account: BinanceAccount, quantity: str, wire: str
) -> None:
    """The text has no exponent, is exact, and is never sent as a cost."""
    binance.answers["POST order"] = {"orderId": 28}
    await account.place(market_order(quantity))
    assert binance.requests[0].fields["quantity"] == wire
    assert "quoteOrderQty" not in binance.requests[0].fields


async def test_a_window_is_never_longer_than_binance_takes(binance: RecordingServer, account: BinanceAccount) -> None:
    """A validity of ten minutes is sent as 60 s, so the request expires earlier than the order allows."""
    binance.answers["POST order"] = {"orderId": 28}
    await account.place(market_order(valid_for_seconds=600))
    assert binance.requests[0].fields["recvWindow"] == "60000"


@pytest.mark.parametrize("order", [market_order(valid_for_seconds=0.1), market_order(valid_for_seconds=-1)])
async def test_an_order_whose_validity_is_nearly_over_is_not_sent(
    binance: RecordingServer, account: BinanceAccount, order: MarketOrder
) -> None:
    """Nothing is sent."""
    with pytest.raises(Expired):
        await account.place(order)
    assert binance.requests == []


@pytest.mark.parametrize("symbol", ["FOO/USDT", "OLD/USDT"])
async def test_an_unlisted_symbol_is_rejected_without_a_request(
    binance: RecordingServer, account: BinanceAccount, symbol: str
) -> None:
    """One symbol is unknown, and one is delisted."""
    with pytest.raises(Rejected, match=symbol):
        await account.place(market_order(symbol=symbol))
    assert binance.requests == []
