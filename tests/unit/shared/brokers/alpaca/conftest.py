"""Defines Alpaca's shapes for the recording server; its calls are named by method and path."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import MarketOrder
from shared.brokers.registry import connect
from shared.domain.accounts.credentials import Credentials
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId
from shared.domain.symbol import Symbol
from tests.support.recording_server import RecordingServer, serving
from tests.unit.shared.brokers.conftest import CountingNonces

API_KEY = "PKTESTKEY0123456789"
API_SECRET = "secret0123456789secret0123456789"
CREDENTIALS = Credentials(api_key=SecretStr(API_KEY), api_secret=SecretStr(API_SECRET))
CLIENT_ORDER_ID = "0123456789abcdef0123456789abcdef"
ORDER_ID = "904837e3-3b76-47ec-b432-046db621571b"
PLACE, BY_CLIENT_ID = "POST /v2/orders", "GET /v2/orders:by_client_order_id"
ORDER = f"/v2/orders/{ORDER_ID}"
ACCOUNT, POSITIONS, FILLS = "GET /v2/account", "GET /v2/positions", "GET /v2/account/activities/FILL"


def crypto(symbol: str, **more: Any) -> dict[str, Any]:
    return {"class": "crypto", "symbol": symbol, "status": "active", "tradable": True, **more}


def stock(symbol: str, **more: Any) -> dict[str, Any]:
    return {"class": "us_equity", "symbol": symbol, "status": "active", "tradable": True, "fractionable": True, **more}


ASSETS = [
    crypto(
        "BTC/USD",
        min_order_size="0.000021",
        min_trade_increment="0.000000001",
        price_increment="0.01",
        unknown_field={"a": [1]},
    ),
    crypto("ETH/USD", min_order_size=0.0005, min_trade_increment=0.0001),
    crypto("ETH/BTC"),
    crypto("OLD/USD", status="inactive"),
    stock("AAPL"),
    stock("BRK.B", fractionable=False),
    stock("BTC"),
    stock("GONE", tradable=False),
    "no object",
]


def order_reply(**more: Any) -> dict[str, Any]:
    """An order as Alpaca shows it, filled."""
    return {
        "id": ORDER_ID,
        "client_order_id": CLIENT_ORDER_ID,
        "submitted_at": "2024-05-01T10:00:00.5Z",
        "symbol": "BTC/USD",
        "asset_class": "crypto",
        "notional": None,
        "qty": "0.2",
        "filled_qty": "0.2",
        "filled_avg_price": "50000.5",
        "type": "market",
        "side": "buy",
        "status": "filled",
        **more,
    }


def fill_reply(number: int, **more: Any) -> dict[str, Any]:
    """An activity of type FILL."""
    return {
        "id": f"20240501100000{number:03d}::{ORDER_ID}",
        "activity_type": "FILL",
        "transaction_time": f"2024-05-01T10:00:00.{number:03d}Z",
        "price": "50000",
        "qty": "0.2",
        "side": "buy",
        "symbol": "BTC/USD",
        "order_id": ORDER_ID,
        **more,
    }


def error_reply(status: int, code: int | None, message: str, **headers: str) -> web.Response:
    document = {"message": message} if code is None else {"code": code, "message": message}
    return web.json_response(document, status=status, headers=headers)


def market_order(quantity: str = "0.01", side: Side = Side.BUY, symbol: str = "BTC/USD") -> MarketOrder:
    return MarketOrder(
        client_order_id=CopyOrderId(CLIENT_ORDER_ID),
        symbol=Symbol.parse(symbol),
        side=side,
        quantity=Decimal(quantity),
        valid_until=datetime.now(UTC) + timedelta(seconds=5),
    )


@pytest.fixture
async def server() -> AsyncIterator[RecordingServer]:
    recording = RecordingServer(
        name=lambda request: f"{request.method} {request.path}",
        unknown=lambda: error_reply(404, 40410000, "not found"),
        answers={"GET /v2/assets": ASSETS},
    )
    async with serving(recording):
        yield recording


@pytest.fixture
async def connection(server: RecordingServer, nonces: CountingNonces) -> AsyncIterator[BrokerConnection]:
    opened = connect(Broker.ALPACA, base_url=server.url, nonces=nonces, request_timeout_seconds=2)
    await opened.open()
    server.requests.clear()
    yield opened
    await opened.close()


@pytest.fixture
def account(connection: BrokerConnection) -> BrokerAccount:
    return connection.account(CREDENTIALS)
